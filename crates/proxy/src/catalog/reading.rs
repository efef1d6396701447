//! The functions of a database, read from its catalog by a connection of its own.

use std::io;
use std::sync::Arc;

use pgweir_sql::{Catalog, Dependent, Language, Relation, Routine, TableFact, Verdict};
use pgweir_wire::backend::{ErrorFields, tag};
use pgweir_wire::frame::HEADER_BYTES;
use pgweir_wire::{Header, Reader, WireError, build, sqlstate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pools::Pool;
use crate::report::Refusal;
use crate::server::connect::dial;
use crate::worker::Worker;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// No function's source is longer, in bytes.
const ROW_BYTES: u32 = 1 << 30;

/// The first version whose functions may have a body that is no string.
const WITH_BODIES: u32 = 14;

/// `pg_depend.classid` of what statements call without naming it, or by another name. (The constraints of domains are
/// read as their types.)
const PG_OPERATOR: u32 = 2617;
const PG_CAST: u32 = 2605;
const PG_TYPE: u32 = 1247;
const PG_AMPROC: u32 = 2603;
const PG_CONSTRAINT: u32 = 2606;
const PG_PROC: u32 = 1255;
const PG_TRIGGER: u32 = 2620;
const PG_EVENT_TRIGGER: u32 = 3466;

/// Reads and judges them.
pub(super) async fn read(worker: &Worker, pool: &Arc<Pool>) -> Result<Verdict, Refusal> {
    let live = pool.live();
    let (mut stream, logged_in) = dial(worker, &pool.credentials(), &live).await?;
    let mut parameters = logged_in.parameters.iter();
    let version = parameters.find(|(name, _)| &**name == "server_version");
    let major = version.and_then(|(_, v)| v.split(|c: char| !c.is_ascii_digit()).next());
    let has_bodies = major.and_then(|v| v.parse().ok()).unwrap_or(0) >= WITH_BODIES;

    let lost = |e: io::Error| Refusal::new(sqlstate::CONNECTION_FAILURE, e.to_string());
    let invalid = |e: WireError| Refusal::new(sqlstate::PROTOCOL_VIOLATION, e.to_string());
    let mut out = Vec::new();
    let routes = live.limits.routes;
    build::query(&mut out, query(has_bodies, routes).as_bytes());
    stream.write_all(&out).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut catalog = Catalog::new();
    let mut input = Vec::new();
    loop {
        let mut at = 0;
        while let Some(h) = Header::peek(&input[at..]) {
            let total = h.check(ROW_BYTES).map_err(invalid)?.total();
            let Some(message) = input.get(at..at + total) else {
                break;
            };
            let body = &message[HEADER_BYTES..];
            match h.tag {
                tag::DATA_ROW => row(&mut catalog, body).map_err(invalid)?,
                tag::ERROR_RESPONSE => {
                    let fields = ErrorFields::read(body);
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    return Err(Refusal::new(&text(fields.code), text(fields.message)));
                }
                tag::READY_FOR_QUERY => {
                    // It closes whether or not it has heard.
                    let _ = stream.write_all(&build::TERMINATE).await;
                    let mut verdict = catalog.judge();
                    if !routes {
                        verdict.volatile = None;
                    }
                    return Ok(verdict);
                }
                _ => {}
            }
            at += total;
        }
        input.drain(..at);
        input.reserve(CHUNK);
        if stream.read_buf(&mut input).await.map_err(lost)? == 0 {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Three results: of the settings, of functions, of what depends on them. Where statements are routed two more: first
/// one of tables, and last one of relations that are not the same on every host or that call something; all of one
/// snapshot. Names and sources come as the server stores them.
/// Functions of `initdb` in `pg_catalog` are known without being read.
fn query(has_bodies: bool, routes: bool) -> String {
    let body = match has_bodies {
        true => "WHEN p.prosqlbody IS NOT NULL THEN pg_get_function_sqlbody(p.oid)",
        false => "",
    };
    let settings = "SELECT set_config('search_path','pg_catalog',false),\
         set_config('client_encoding',current_setting('server_encoding'),false),\
         set_config('lock_timeout','2s',false),set_config('statement_timeout','30s',false);";
    let functions = format!(
        "SELECT p.oid,n.nspname,p.proname,l.lanname,\
         CASE WHEN l.lanname NOT IN ('sql','plpgsql','internal') THEN '' {body} ELSE p.prosrc END,\
         p.pronargs>0 AND p.pronargs-p.pronargdefaults<=1 AND EXISTS(SELECT FROM pg_type t \
         WHERE t.oid=p.proargtypes[0] AND t.typtype IN ('c','d','p'))::boolean,p.provolatile \
         FROM pg_proc p JOIN pg_namespace n ON n.oid=p.pronamespace JOIN pg_language l ON l.oid=p.prolang \
         WHERE p.oid>=16384 OR n.nspname<>'pg_catalog';\
         SELECT DISTINCT refobjid,CASE WHEN EXISTS(SELECT FROM pg_constraint c \
         WHERE classid={PG_CONSTRAINT} AND c.oid=objid AND c.contypid<>0) THEN {PG_TYPE} ELSE classid END,\
         CASE classid WHEN {PG_PROC} THEN objid ELSE 0 END \
         FROM pg_depend WHERE refclassid={PG_PROC} AND deptype<>'p'"
    );
    match routes {
        true => [SNAPSHOT, settings, TABLES, &functions, RELATIONS].concat(),
        false => [settings, &functions].concat(),
    }
}

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;";

/// What is written and read with a table: relations first, then children, tables that refer to others by keys with
/// actions, functions of triggers, defaults, constraints, indexes and policies, and what policies check.
const TABLES: &str = "SELECT DISTINCT '0',c.relname,c.relkind::text,0::oid,c.relhasrules AND c.relkind<>'v','' \
         FROM pg_class c JOIN pg_namespace n ON n.oid=c.relnamespace \
         WHERE c.relkind IN ('r','p','v','m','f','S') AND c.relpersistence<>'t' \
         AND n.nspname NOT IN ('pg_catalog','information_schema','pg_toast') \
         UNION ALL SELECT DISTINCT '1',p.relname,c.relname,0,false,'' FROM pg_inherits i \
         JOIN pg_class p ON p.oid=i.inhparent JOIN pg_class c ON c.oid=i.inhrelid WHERE p.relkind IN ('r','p','f') \
         UNION ALL SELECT DISTINCT '2',r.relname,c.relname,0,false,'' FROM pg_constraint k \
         JOIN pg_class r ON r.oid=k.confrelid JOIN pg_class c ON c.oid=k.conrelid \
         WHERE k.contype='f' AND (k.confdeltype IN ('c','n','d') OR k.confupdtype IN ('c','n','d')) \
         UNION ALL SELECT DISTINCT '3',c.relname,'',t.tgfoid,false,'' FROM pg_trigger t \
         JOIN pg_class c ON c.oid=t.tgrelid WHERE NOT t.tgisinternal \
         UNION ALL SELECT DISTINCT '3',c.relname,'',d.refobjid,false,'' FROM pg_depend d \
         JOIN pg_class c ON c.oid=CASE d.classid \
         WHEN 2604 THEN (SELECT adrelid FROM pg_attrdef WHERE oid=d.objid) \
         WHEN 2606 THEN (SELECT conrelid FROM pg_constraint WHERE oid=d.objid) \
         WHEN 2618 THEN (SELECT ev_class FROM pg_rewrite WHERE oid=d.objid) \
         WHEN 2620 THEN (SELECT tgrelid FROM pg_trigger WHERE oid=d.objid) \
         WHEN 3256 THEN (SELECT polrelid FROM pg_policy WHERE oid=d.objid) \
         WHEN 3381 THEN (SELECT stxrelid FROM pg_statistic_ext WHERE oid=d.objid) \
         WHEN 1259 THEN coalesce((SELECT indrelid FROM pg_index WHERE indexrelid=d.objid),d.objid) END \
         WHERE d.refclassid=1255 AND d.deptype<>'p' AND d.classid<>1255 \
         UNION ALL SELECT '4',c.relname,'',0,false,pg_get_expr(p.polwithcheck,p.polrelid) \
         FROM pg_policy p JOIN pg_class c ON c.oid=p.polrelid WHERE p.polwithcheck IS NOT NULL ORDER BY 1;";

/// What is read besides where statements are routed: for each view, policy and partition what it reads. To print a view
/// the server locks what is in it for a moment, as a SELECT does.
const RELATIONS: &str = ";SELECT c.oid,n.nspname,c.relname,c.relkind<>'v',\
         CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) ELSE '' END \
         FROM pg_class c JOIN pg_namespace n ON n.oid=c.relnamespace \
         WHERE (c.relkind IN ('v','S','f') OR c.relkind IN ('r','p') AND c.relpersistence='u') \
         AND c.relpersistence<>'t' AND n.nspname NOT IN ('pg_catalog','information_schema') \
         UNION ALL SELECT c.oid,'',c.relname,false,pg_get_expr(p.polqual,p.polrelid) \
         FROM pg_policy p JOIN pg_class c ON c.oid=p.polrelid WHERE p.polqual IS NOT NULL \
         UNION ALL SELECT p.oid,'',p.relname,false,'TABLE '||quote_ident(c.relname) \
         FROM pg_inherits i JOIN pg_class p ON p.oid=i.inhparent JOIN pg_class c ON c.oid=i.inhrelid \
         WHERE c.relkind IN ('p','f') OR c.relkind='r' AND (c.relpersistence='u' OR c.relhassubclass)";

/// Takes a row of any of the results, which have different numbers of columns.
fn row(catalog: &mut Catalog, body: &[u8]) -> Result<(), WireError> {
    let mut reader = Reader::new(tag::DATA_ROW, body);
    let mut columns = [&b""[..]; 7];
    let count = usize::from(reader.u16("columns")?);
    for column in columns.iter_mut().take(count) {
        let length = reader.u32("length")?;
        if length != u32::MAX {
            *column = reader.bytes(length as usize, "value")?;
        }
    }
    let number = |column: &[u8]| {
        let digits = std::str::from_utf8(column).ok();
        digits.and_then(|d| d.parse::<u32>().ok()).unwrap_or(0)
    };
    match (count, columns) {
        (
            7,
            [
                oid,
                schema,
                name,
                language,
                source,
                is_like_a_column,
                volatility,
            ],
        ) => {
            catalog.add(Routine {
                oid: number(oid),
                schema: &String::from_utf8_lossy(schema),
                name: &String::from_utf8_lossy(name),
                language: Language::of(&String::from_utf8_lossy(language)),
                source,
                is_like_a_column: is_like_a_column == b"t",
                is_volatile: volatility == b"v",
                is_immutable: volatility == b"i",
            });
        }
        (6, [kind, name, other, function, flag, definition, ..]) => {
            let (name, other) = (
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(other),
            );
            let (name, other) = (&*name, &*other);
            let fact = match kind {
                b"0" => TableFact::Relation {
                    name,
                    kind: other.bytes().next().unwrap_or_default(),
                    has_rules: flag == b"t",
                },
                b"1" => TableFact::Inherits {
                    parent: name,
                    child: other,
                },
                b"2" => TableFact::Cascades {
                    from: name,
                    to: other,
                },
                b"3" => TableFact::Runs {
                    table: name,
                    function: number(function),
                },
                _ => TableFact::Check {
                    table: name,
                    expression: definition,
                },
            };
            catalog.table(fact);
        }
        (5, [_, _, name, is_of_primary, definition, ..]) => {
            catalog.relation(Relation {
                name: &String::from_utf8_lossy(name),
                is_of_primary: is_of_primary == b"t",
                definition,
            });
        }
        (3, [function, class, object, ..]) => {
            let dependent = match number(class) {
                PG_PROC => Dependent::Routine(number(object)),
                PG_TRIGGER => Dependent::Trigger,
                PG_EVENT_TRIGGER => Dependent::EventTrigger,
                PG_OPERATOR | PG_CAST | PG_TYPE | PG_AMPROC => Dependent::Expression,
                _ => Dependent::Other,
            };
            catalog.depends(number(function), dependent);
        }
        _ => {}
    }
    Ok(())
}
