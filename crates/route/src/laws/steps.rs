//! What can happen.

use proptest::prelude::*;

/// What can happen. Servers are counted modulo how many there are.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// So many milliseconds pass.
    Time(u64),
    /// A client sends a write to whom the board names as primary: to these tables, one bit each, or to unknown ones.
    Write(Option<u8>),
    /// The n-th write under way is carried out, or answered if it was.
    Proceed(usize),
    /// Something else is logged.
    Log(usize, u64),
    /// A client reads, needing the mark of all, or that of the n-th write.
    Read(Option<usize>, u64),
    /// A client reads these tables, one bit each.
    ReadTables(u8, u64),
    /// A client asks the primary for its position.
    Position,
    /// A client reads, needing the n-th position that was asked for.
    ReadAfter(usize, u64),
    /// The prober asks a server.
    Ask(usize),
    /// The question arrives there.
    Serve(usize),
    /// The answer arrives.
    Deliver(usize),
    /// The prober waits no longer; the answer may still come.
    GiveUp(usize),
    /// The n-th answer comes that was no longer waited for.
    DeliverLate(usize),
    /// All three at once.
    Probe(usize),
    Stream(usize, usize),
    Promote(usize),
    PromoteTwin(usize),
    FollowLeader(usize),
    Rewind(usize),
    Restore(usize, usize),
    LoseEnd(usize, usize),
    Crash(usize),
    Start(usize),
    /// Patroni tells the truth of this moment.
    Told,
    /// Patroni is not asked any more.
    Forget,
}

/// Few tables at a time, of few.
fn tables() -> impl Strategy<Value = u8> {
    (0..6_u8, 0..6_u8).prop_map(|(a, b)| 1 << a | 1 << b)
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let server = 0..5_usize;
    let s = || server.clone();
    prop_oneof![
        4 => prop_oneof![4 => 1..10_u64, 1 => 100..4000_u64].prop_map(Step::Time),
        6 => proptest::option::weighted(0.9, tables()).prop_map(Step::Write),
        10 => any::<usize>().prop_map(Step::Proceed),
        2 => (s(), 0..9000_u64).prop_map(|(n, size)| Step::Log(n, size)),
        10 => (proptest::option::of(any::<usize>()), any::<u64>()).prop_map(|(n, r)| Step::Read(n, r)),
        10 => (tables(), any::<u64>()).prop_map(|(tables, r)| Step::ReadTables(tables, r)),
        2 => Just(Step::Position),
        6 => (any::<usize>(), any::<u64>()).prop_map(|(n, r)| Step::ReadAfter(n, r)),
        8 => s().prop_map(Step::Ask),
        8 => s().prop_map(Step::Serve),
        8 => s().prop_map(Step::Deliver),
        1 => s().prop_map(Step::GiveUp),
        1 => any::<usize>().prop_map(Step::DeliverLate),
        12 => s().prop_map(Step::Probe),
        12 => (s(), 1..20_usize).prop_map(|(n, records)| Step::Stream(n, records)),
        1 => s().prop_map(Step::Promote),
        1 => s().prop_map(Step::PromoteTwin),
        3 => s().prop_map(Step::FollowLeader),
        1 => s().prop_map(Step::Rewind),
        1 => (s(), 0..20_usize).prop_map(|(n, records)| Step::Restore(n, records)),
        1 => (s(), 1..5_usize).prop_map(|(n, records)| Step::LoseEnd(n, records)),
        1 => s().prop_map(Step::Crash),
        2 => s().prop_map(Step::Start),
        1 => Just(Step::Told),
        1 => Just(Step::Forget),
    ]
}
