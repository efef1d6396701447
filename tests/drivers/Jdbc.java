// pgjdbc in each of its query modes: server-side statements, batches, cursors, COPY, cancel, autosave, changes of schema.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

public class Jdbc {
    // Past prepareThreshold, which is 5: by then pgjdbc has a named statement, and asks no more for its columns.
    static final int OFTEN = 8;

    final String url;
    final boolean isDefault;
    final boolean rollsBackTheStatement;

    Jdbc(String port, String database, String mode) {
        url = "jdbc:postgresql://127.0.0.1:" + port + "/" + database + "?user=alice&sslmode=disable&" + mode;
        isDefault = mode.isEmpty();
        rollsBackTheStatement = mode.contains("autosave=always");
    }

    public static void main(String[] arguments) throws Exception {
        String[] modes = {
            "", "preferQueryMode=simple", "preferQueryMode=extendedForPrepared",
            "preferQueryMode=extendedCacheEverything", "prepareThreshold=1", "prepareThreshold=-1", "prepareThreshold=0",
            "autosave=always", "autosave=conservative"
        };
        for (int i = 0; i < modes.length; i++) {
            try {
                new Jdbc(arguments[0], arguments[1], modes[i]).everything("t" + i);
            } catch (Throwable e) {
                throw new AssertionError("with '" + modes[i] + "'", e);
            }
        }
    }

    void everything(String table) throws Exception {
        try (Connection c = open(""); Connection other = open("")) {
            values(c, other);
            manyStatements();
            transactions(c, table);
            for (String rewrite : List.of("false", "true")) {
                try (Connection b = open("&reWriteBatchedInserts=" + rewrite)) {
                    batches(b, table);
                }
            }
            cursors(c);
            copies(c, table);
            cancels(c, other);
            changesOfSchema(c, other, table);
            if (isDefault) {
                largeValues(c);
            }
            largeObjects(c);
            several(c);
            startUpOptions(c);
            threads();
            is(c.isValid(5), "valid");
        }
    }

    void values(Connection... both) throws SQLException {
        for (int i = 0; i < OFTEN; i++) {
            for (Connection c : both) {
                String sql = "select ?::int + 1, ?::text, (?)::int[], '" + (c == both[0]) + "'";
                try (PreparedStatement p = c.prepareStatement(sql)) {
                    p.setInt(1, i);
                    if (i % 3 == 0) {
                        p.setNull(2, Types.VARCHAR);
                    } else {
                        p.setString(2, "o'neil \\ é" + i);
                    }
                    p.setArray(3, c.createArrayOf("int4", new Integer[] {1, null, i}));
                    ResultSet r = p.executeQuery();
                    r.next();
                    same(r.getInt(1), i + 1);
                    same(r.getString(2), i % 3 == 0 ? null : "o'neil \\ é" + i);
                    same(Arrays.asList((Object[]) r.getArray(3).getArray()), Arrays.asList(1, null, i));
                    same(r.getString(4), "" + (c == both[0]));
                }
            }
        }
    }

    // More than the driver and the pooler keep: both evict.
    void manyStatements() throws SQLException {
        try (Connection c = open("&preparedStatementCacheQueries=20")) {
            for (int round = 0; round < 3; round++) {
                for (int i = 0; i < 60; i++) {
                    try (PreparedStatement p = c.prepareStatement("select " + i + " + ?::int")) {
                        for (int k = 0; k < 6; k++) {
                            p.setInt(1, k);
                            ResultSet r = p.executeQuery();
                            r.next();
                            same(r.getInt(1), i + k);
                        }
                    }
                }
            }
        }
    }

    void transactions(Connection c, String table) throws Exception {
        run(c, "create table " + table + " (a int primary key, b text)");
        c.setAutoCommit(false);
        run(c, "insert into " + table + " values (1, 'x')");
        same(one(c, "select pg_backend_pid()"), one(c, "select pg_backend_pid()"));
        Savepoint savepoint = c.setSavepoint();
        fails("23505", () -> run(c, "insert into " + table + " values (1, 'y')"));
        if (rollsBackTheStatement) {
            same(one(c, "select count(*) from " + table), "1");
        } else {
            fails("25P02", () -> run(c, "select 1"));
        }
        c.rollback(savepoint);
        run(c, "insert into " + table + " values (2, 'z')");
        c.commit();
        run(c, "delete from " + table);
        c.rollback();
        same(one(c, "select count(*) from " + table), "2");
        c.commit();
        run(c, "set local statement_timeout = '50ms'");
        fails("57014", () -> run(c, "select pg_sleep(3600)"));
        c.rollback();
        c.setAutoCommit(true);
        same(one(c, "show statement_timeout"), "0");
    }

    void batches(Connection c, String table) throws Exception {
        run(c, "truncate " + table);
        try (PreparedStatement p = c.prepareStatement("insert into " + table + " values (?, ?)")) {
            c.setAutoCommit(false);
            for (int n = 0; n < 2; n++) {
                addRows(p, n * 1000, -1);
                same(p.executeBatch().length, 1000);
            }
            c.commit();
            for (boolean auto : new boolean[] {false, true}) {
                c.setAutoCommit(auto);
                addRows(p, 5000, 500);
                try {
                    p.executeBatch();
                    throw new AssertionError("the row that is there already was inserted");
                } catch (BatchUpdateException e) {
                    same(e.getSQLState(), "23505");
                }
                if (!auto) {
                    c.rollback();
                }
                same(one(c, "select count(*) from " + table + " where a < 5000"), "2000");
            }
            p.setInt(1, 9999);
            p.setString(2, "after");
            same(p.executeUpdate(), 1);
        }
        String sql = "insert into " + table + " (a) values (?)";
        try (PreparedStatement p = c.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS)) {
            for (int i = 0; i < 300; i++) {
                p.setInt(1, 20000 + i);
                p.addBatch();
            }
            p.executeBatch();
            ResultSet keys = p.getGeneratedKeys();
            for (int i = 0; i < 300; i++) {
                is(keys.next(), "key");
                same(keys.getInt("a"), 20000 + i);
            }
        }
    }

    // A thousand rows, of which the one at `wrong` is there already.
    static void addRows(PreparedStatement p, int start, int wrong) throws SQLException {
        for (int i = 0; i < 1000; i++) {
            p.setInt(1, i == wrong ? 7 : start + i);
            p.setString(2, "row " + i);
            p.addBatch();
        }
    }

    void cursors(Connection c) throws Exception {
        c.setAutoCommit(false);
        for (int n = 0; n < OFTEN; n++) {
            try (PreparedStatement p = c.prepareStatement("select g from generate_series(1, ?) g")) {
                p.setFetchSize(37);
                p.setInt(1, 200);
                ResultSet r = p.executeQuery();
                for (int i = 1; i <= 200; i++) {
                    is(r.next(), "row");
                    same(r.getInt(1), i);
                    if (i % 50 == 0) {
                        same(one(c, "select 'between'"), "between");
                    }
                }
                is(!r.next(), "end");
            }
        }
        c.commit();
        c.setAutoCommit(true);
    }

    void copies(Connection c, String table) throws Exception {
        run(c, "truncate " + table);
        CopyManager copies = c.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 20000; i++) {
            text.append(i).append("\trow ").append(i).append('\n');
        }
        String in = "copy " + table + " from stdin";
        same(copies.copyIn(in, new StringReader(text.toString())), 20000L);
        StringWriter out = new StringWriter();
        same(copies.copyOut("copy (select * from " + table + " order by a) to stdout", out), 20000L);
        same(out.toString(), text.toString());
        fails("23505", () -> copies.copyIn(in, new StringReader(text.toString())));
        fails("22P02", () -> copies.copyIn(in, new StringReader("x\ty\n")));
        fails("22012", () -> copies.copyOut("copy (select 1 / (500 - g) from generate_series(1, 1000) g) to stdout",
            new StringWriter()));
        CopyIn given = copies.copyIn(in);
        given.writeToCopy("90000\tq\n".getBytes(), 0, 8);
        given.cancelCopy();
        same(one(c, "select count(*) from " + table), "20000");
    }

    void cancels(Connection c, Connection other) throws Exception {
        String sleeps = "select pg_sleep(3600), '" + this + "'";
        String running = "select count(*) from pg_stat_activity where state = 'active' and query = $$" + sleeps + "$$";
        for (int n = 0; n < 3; n++) {
            try (Statement s = c.createStatement()) {
                ExecutorService thread = Executors.newSingleThreadExecutor();
                Future<?> cancelled = thread.submit(() -> {
                    while (one(other, running).equals("0")) { }
                    s.cancel();
                    return null;
                });
                fails("57014", () -> s.executeQuery(sleeps));
                cancelled.get();
                thread.shutdown();
                // Nothing runs: nothing is cancelled.
                s.cancel();
                same(one(c, "select 1"), "1");
            }
        }
    }

    void changesOfSchema(Connection c, Connection other, String table) throws Exception {
        String changing = table + "_changing";
        run(c, "create table " + changing + " as select 1 as a");
        try (PreparedStatement p = c.prepareStatement("select * from " + changing)) {
            for (int columns = 1; columns <= 4; columns++) {
                if (columns > 1) {
                    run(other, "alter table " + changing + " add column b" + columns + " text");
                }
                for (int i = 0; i < OFTEN; i++) {
                    columns(p, columns);
                }
            }
            c.setAutoCommit(false);
            columns(p, 4);
            c.commit();
            run(other, "alter table " + changing + " alter a type text using 'new'");
            try {
                columns(p, 4);
                c.commit();
            } catch (SQLException e) {
                same(e.getSQLState(), "0A000");
                c.rollback();
            }
            for (int i = 0; i < OFTEN; i++) {
                same(columns(p, 4), "new");
            }
            c.commit();
            c.setAutoCommit(true);
        }
    }

    // The first column of the one row, which has so many.
    static String columns(PreparedStatement p, int count) throws SQLException {
        try (ResultSet r = p.executeQuery()) {
            is(r.next(), "row");
            same(r.getMetaData().getColumnCount(), count);
            for (int i = 2; i <= count; i++) {
                same(r.getString(i), null);
            }
            return r.getString(1);
        }
    }

    void largeValues(Connection c) throws SQLException {
        byte[] large = new byte[20 << 20];
        new Random(1).nextBytes(large);
        try (PreparedStatement p = c.prepareStatement("select (?)::bytea, md5((?)::bytea)")) {
            p.setBytes(1, large);
            p.setBytes(2, new byte[1 << 20]);
            ResultSet r = p.executeQuery();
            r.next();
            is(Arrays.equals(r.getBytes(1), large), "20 MB");
            same(r.getString(2), "b6d81b360a5672d80c27430f39153e2c");
        }
    }

    // By function calls of the protocol.
    void largeObjects(Connection c) throws Exception {
        c.setAutoCommit(false);
        LargeObjectManager objects = c.unwrap(PGConnection.class).getLargeObjectAPI();
        long number = objects.createLO();
        LargeObject object = objects.open(number);
        byte[] bytes = new byte[100000];
        new Random(2).nextBytes(bytes);
        object.write(bytes);
        object.seek(1000);
        is(Arrays.equals(object.read(5000), Arrays.copyOfRange(bytes, 1000, 6000)), "read");
        object.close();
        objects.delete(number);
        c.commit();
        fails("42704", () -> objects.open(number));
        c.rollback();
        c.setAutoCommit(true);
    }

    void several(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            for (int i = 0; i < OFTEN; i++) {
                is(s.execute("select 1; select 2 as x; select 3"), "rows");
                List<String> found = new ArrayList<>();
                do {
                    ResultSet r = s.getResultSet();
                    r.next();
                    found.add(r.getString(1));
                } while (s.getMoreResults());
                same(found, List.of("1", "2", "3"));
                s.execute("");
            }
            fails("22012", () -> s.execute("select 1; select 1 / 0; select 3"));
            s.execute("do 'begin raise notice ''hello''; end'");
            same(s.getWarnings().getMessage(), "hello");
        }
    }

    void startUpOptions(Connection without) throws SQLException {
        try (Connection c = open("&options=-c%20work_mem=5MB&currentSchema=pg_catalog&ApplicationName=shop")) {
            for (int i = 0; i < 3; i++) {
                same(one(c, "show work_mem"), "5MB");
                same(one(c, "show search_path"), "pg_catalog");
                same(one(c, "show application_name"), "shop");
                same(one(without, "show work_mem"), "4MB");
                is(!one(without, "show application_name").equals("shop"), "somebody else's name");
            }
        }
    }

    void threads() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(20);
        List<Future<?>> all = new ArrayList<>();
        for (int n = 0; n < 20; n++) {
            int mine = n;
            all.add(threads.submit(() -> {
                try (Connection c = open("")) {
                    for (int i = 0; i < 10; i++) {
                        try (PreparedStatement p = c.prepareStatement("select ?::int * 2, ?::text")) {
                            p.setInt(1, mine);
                            p.setString(2, mine + " " + i);
                            ResultSet r = p.executeQuery();
                            r.next();
                            same(r.getInt(1), mine * 2);
                            same(r.getString(2), mine + " " + i);
                        }
                        fails("22012", () -> run(c, "select 1 / 0"));
                    }
                }
                return null;
            }));
        }
        for (Future<?> one : all) {
            one.get();
        }
        threads.shutdown();
    }

    interface Action {
        void run() throws Exception;
    }

    Connection open(String more) throws SQLException {
        return DriverManager.getConnection(url + more);
    }

    static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute(sql);
        }
    }

    static String one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            is(r.next(), "a row: " + sql);
            String value = r.getString(1);
            is(!r.next(), "one row: " + sql);
            return value;
        }
    }

    static void fails(String state, Action action) throws Exception {
        try {
            action.run();
        } catch (SQLException e) {
            same(e.getSQLState(), state);
            return;
        }
        throw new AssertionError("no error, instead of " + state);
    }

    static void same(Object found, Object expected) {
        is(Objects.equals(found, expected), "found " + found + ", expected " + expected);
    }

    static void is(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
