"""The benchmark's own arithmetic: `python3 -m unittest discover -s benches`."""
import struct
import unittest

from lib.clients import BURST_ROW_BYTES, BURST_ROWS, WrongAnswer, _Answer
from lib import own_settings, routing
from lib.goals import verdicts
from lib.load import percentile, request_times, transaction_times
from lib.measure import Copy, Memory, Rate, Results
from lib.report import table


def rate(tps=100.0, cpu_us=20.0, failure=""):
    return Rate(tps, cpu_us, 1.0, 2.0, 3.0, failure=failure)


def answer_bytes(number):
    def message(kind, body):
        return kind + struct.pack("!i", len(body) + 4) + body
    fill = b"x" * BURST_ROW_BYTES
    value = str(number).encode()
    row = message(b"D", struct.pack("!hi", 2, len(value)) + value + struct.pack("!i", len(fill)) + fill)
    return message(b"T", b"\0" * 40) + row * BURST_ROWS + message(b"C", b"SELECT 200\0") + b"Z\0\0\0\5I"


class Latencies(unittest.TestCase):
    def test_a_percentile_is_taken_from_the_ordered_values(self):
        values = list(range(1, 101))
        self.assertEqual([percentile(values, p) for p in (0.5, 0.99, 1.0)], [51, 100, 100])

    def test_transaction_times_are_milliseconds_in_order(self):
        self.assertEqual(transaction_times(["0 0 2000 0 1700000000 5", "1 0 500 0 1700000000 6"]), [0.5, 2.0])

    def test_a_reconnecting_clients_request_lasts_from_its_last_answer_to_its_next(self):
        lines = ["7 1 10 0 102 500000", "7 0 10 0 101 0", "8 0 10 0 103 0"]
        self.assertEqual(request_times(lines, 100.0), [1000.0, 1500.0, 3000.0])


class Goals(unittest.TestCase):
    def judged(self, results):
        return {v.subject: v for v in verdicts(results, 1000)}

    def test_a_ratio_is_rounded_as_shown_before_it_is_judged(self):
        for cpu, met in ((20.08, True), (20.2, False)):
            found = self.judged(Results(transactions={("pgweir", "simple", 1): [rate(cpu_us=cpu)], ("pgbouncer", "simple", 1): [rate()]}))
            self.assertEqual(found["CPU per transaction, simple, 1 client, to PgBouncer"].met, met, cpu)

    def test_the_median_of_the_rounds_is_judged_and_failed_rounds_are_not(self):
        ours = [rate(tps=t) for t in (90, 120, 130)] + [rate(tps=0, failure="gone")]
        found = self.judged(Results(transactions={("pgweir", "simple", 10): ours, ("pgbouncer", "simple", 10): [rate()] * 3}))
        self.assertEqual(found["transactions/s, simple, 10 clients, to PgBouncer"].measured, "1.20 ×")

    def test_a_cell_without_pgbouncers_figures_has_no_goal(self):
        refused = rate(failure="not in transaction mode")
        found = self.judged(Results(transactions={("pgweir", "prepared", 10): [rate()], ("pgbouncer", "prepared", 10): [refused]}))
        self.assertEqual(found, {})

    def test_prepared_is_held_against_pgweirs_own_extended(self):
        measured = {("pgweir", "prepared", 10): [rate(cpu_us=21)], ("pgweir", "extended", 10): [rate(cpu_us=20)]}
        found = self.judged(Results(transactions=measured))
        self.assertFalse(found["CPU per transaction, prepared, 10 clients, to pgweir's extended"].met)

    def test_memory_must_come_back_to_what_idle_clients_may_cost(self):
        for gone, met in ((7_300_000, True), (7_500_000, False)):
            life = Memory(fresh=5_000_000, with_idle_clients=7_000_000, peak=99_000_000, after_burst=20_000_000, clients_gone=gone)
            found = self.judged(Results(memory={"pgweir": [life]}))
            self.assertEqual(found["memory kept when the clients of the burst have left"].met, met)
            self.assertEqual(found["user memory per idle client"].measured, "2,000 bytes")

    def test_clients_with_settings_are_held_against_the_same_clients_without(self):
        for tps, met in ((79.6, True), (79.4, False)):
            measured = {("pgweir", "their own"): [rate(tps=tps)], ("pgweir", "nothing"): [rate(tps=100)], ("pgbouncer", "nothing"): [rate(tps=1)]}
            found = self.judged(Results(settings=measured))
            self.assertEqual(found["transactions/s, 100 clients with settings of their own, to clients that set nothing"].met, met, tps)

    def test_copy_and_the_crowd_are_judged(self):
        crowd = {("pgweir", "per transaction"): [rate(tps=290)], ("direct", "per transaction"): [rate(tps=100)]}
        found = self.judged(Results(copies={"pgweir": [Copy(500.0, 0.9)]}, crowd=crowd))
        self.assertEqual([v.met for v in found.values()], [True, False])


class Answers(unittest.TestCase):
    def taken(self, number, data, piece):
        answer = _Answer(number)
        complete = [answer.take(data[at:at + piece]) for at in range(0, len(data), piece)]
        self.assertEqual(complete, [False] * (len(complete) - 1) + [True])
        return answer

    def test_an_answer_in_pieces_of_any_size_is_recognised(self):
        data = answer_bytes(4321)
        for piece in (1, 5, 7, 4096, len(data)):
            self.taken(4321, data, piece).check()

    def test_another_clients_answer_is_found_out(self):
        with self.assertRaises(WrongAnswer):
            self.taken(4321, answer_bytes(4322), 4096).check()

    def test_a_shortened_answer_is_found_out(self):
        data = answer_bytes(1)
        with self.assertRaises(WrongAnswer):
            self.taken(1, data[:5000] + data[-6:], 512).check()


class OwnSettings(unittest.TestCase):
    def test_both_kinds_of_clients_differ_only_in_what_they_set_and_whose_rows_they_expect(self):
        nothing, own = (own_settings.script(kind) for kind in own_settings.KINDS)
        self.assertNotIn("SET ", nothing)
        self.assertEqual(own.split("\\endif\n", 1)[1], nothing.replace(":client <> -1", ":client <> :client_id"))


class Routing(unittest.TestCase):
    def test_a_drift_that_meets_both_of_a_pair_does_not_show_in_the_ratio(self):
        self.assertEqual(routing.median_ratio([(10, 11), (20, 22), (40, 44), (10, 30), (30, 10)]), 1.1)

    def test_statements_are_counted_by_where_they_went(self):
        shown = "bench|replica|read|70\nbench|replica|asked for|1\nbench|primary|may write|5\nbench|primary|replicas behind|0"
        self.assertEqual(routing.reads_at(shown), (71, 5))


class Tables(unittest.TestCase):
    def test_figures_stand_to_the_right_and_an_empty_note_goes(self):
        text = table(["name", "tps", "note"], [["a", "1,000", ""], ["bb", "–", ""]])
        self.assertEqual(text.splitlines(), ["| name |   tps |", "|------|------:|", "| a    | 1,000 |", "| bb   |     – |"])


if __name__ == "__main__":
    unittest.main()
