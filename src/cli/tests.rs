//! What the command line promises, tried as an operator would: words in, streams and exit code out.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

use argh::{ArgsInfo, CommandInfoWithArgs};

use super::*;
use crate::config::Account;
use crate::types::NodeId;
use crate::types::admin::{self as answers, Failure, FailureCode, Reply, Request, SOCKET_NAME};

/// What fits on a terminal window without scrolling.
const SCREEN_ROWS: usize = 36;
const SCREEN_COLUMNS: usize = 100;

struct Outcome {
    exit: Exit,
    out: String,
    err: String,
}

fn run_in(dir: &Path, line: &str, terminal: Terminal, input: &str) -> Outcome {
    let env = BTreeMap::from([("HOME".to_owned(), dir.display().to_string())]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut session = Session {
        env: &env,
        working_dir: dir.to_owned(),
        system_dir: dir.join("etc"),
        account: Account::User,
        out: &mut out,
        err: &mut err,
        input: &mut input.as_bytes(),
        terminal,
    };
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let exit = run(&args, &mut session);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Outcome { exit, out: text(out), err: text(err) }
}

fn debros(line: &str) -> Outcome {
    let dir = tempfile::tempdir().expect("temp dir");
    run_in(dir.path(), line, Terminal::Script, "")
}

/// Runs a command against a daemon that answers once, and gives what it was asked.
fn against(reply: Option<Reply>, line: &str, terminal: Terminal, input: &str) -> (Outcome, Request) {
    let dir = tempfile::tempdir().expect("temp dir");
    let listener = UnixListener::bind(dir.path().join(SOCKET_NAME)).expect("binds");
    let daemon = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("accepts");
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request).expect("reads");
        if let (Some(reply), false) = (reply, request.is_empty()) {
            (&stream).write_all(reply.to_line().as_bytes()).expect("writes");
        }
        Request::parse(&request)
    });
    let outcome = run_in(dir.path(), &format!("{line} --data-dir ."), terminal, input);
    // A command that failed before it asked must not leave the daemon waiting.
    drop(std::os::unix::net::UnixStream::connect(dir.path().join(SOCKET_NAME)));
    let request = daemon.join().expect("the daemon ends");
    let request = request.unwrap_or_else(|error| panic!("asked nothing: {error}; {}", outcome.err));
    (outcome, request)
}

fn node(number: u8) -> NodeId {
    NodeId::from_public_key([number; 32])
}

fn commands(path: &[String], command: &CommandInfoWithArgs, found: &mut Vec<Vec<String>>) {
    found.push(path.to_vec());
    for sub in &command.commands {
        let path: Vec<String> = path.iter().cloned().chain([sub.name.to_owned()]).collect();
        commands(&path, &sub.command, found);
    }
}

#[test]
fn the_help_of_every_command_fits_a_screen_and_has_examples() {
    let mut found = Vec::new();
    commands(&[], &Debros::get_args_info(), &mut found);
    assert!(found.len() > 20);
    for path in found {
        let help = debros(&format!("{} --help", path.join(" ")));
        assert_eq!(help.exit, Exit::Ok, "{path:?}: {}", help.err);
        let rows = help.out.lines().map(|line| line.chars().count().div_ceil(SCREEN_COLUMNS).max(1));
        assert!(rows.sum::<usize>() <= SCREEN_ROWS, "{path:?}:\n{}", help.out);
        assert!(help.out.contains("Examples:"), "{path:?}:\n{}", help.out);
        assert_eq!(debros(&format!("{} -h", path.join(" "))).out, help.out);
        assert_eq!(debros(&format!("help {}", path.join(" "))).out, help.out);
    }
}

#[test]
fn examples_in_the_help_are_command_lines_that_parse() {
    let mut found = Vec::new();
    commands(&[], &Debros::get_args_info(), &mut found);
    let id = node(1).to_string();
    for path in found {
        let help = debros(&format!("{} --help", path.join(" "))).out;
        let examples = help.split("Examples:").nth(1).expect("has examples").lines();
        for example in examples.map(str::trim).take_while(|line| !line.ends_with(':')) {
            let Some(args) = example.strip_prefix("debros ") else { continue };
            let args = args.split(" < ").next().unwrap_or(args).replace("12D3KooW...", &id);
            let args = args.replace("\"$(debros cluster invite --data-dir ./n1)\"", "TOKEN");
            let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
            if args[0] == "help" {
                continue;
            }
            let args = argv::normalise(&args, &Debros::get_args_info()).expect(example);
            let words: Vec<&str> = args.iter().map(String::as_str).collect();
            assert!(argh::FromArgs::from_args(&["debros"], &words).map(|_: Debros| ()).is_ok(), "{example}");
        }
    }
}

#[test]
fn arguments_may_be_typed_the_way_people_do() {
    let normal = |line: &str| {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        argv::normalise(&args, &Debros::get_args_info()).map(|args| args.join(" ")).map_err(|error| error.message)
    };
    let good = [
        ("cluster invite --role=gateway --ttl=10m", "cluster invite --role gateway --ttl 10m"),
        ("--data-dir=/d cluster status", "cluster status --data-dir /d"),
        ("--data-dir /d cluster --format json status", "cluster status --data-dir /d --format json"),
        ("-q health", "health -q"),
        ("-f json version", "version -f json"),
        ("--version", "version"),
        ("-h", "--help"),
        ("cluster -h", "cluster --help"),
        ("cluster help", "cluster --help"),
        ("key revoke -- --odd=key", "key revoke -- --odd=key"),
        ("node --join a=b=", "node --join a=b="),
    ];
    for (typed, expected) in good {
        assert_eq!(normal(typed).as_deref(), Ok(expected), "{typed}");
    }
    assert!(normal("").is_err());
    assert!(normal("cluster").is_err());
}

#[test]
fn near_misses_are_answered_with_what_was_meant() {
    for (line, error) in [
        ("clstr status", "error: unknown command `debros clstr`\nhint: did you mean `debros cluster`?\n"),
        (
            "cluster statsu",
            "error: unknown command `debros cluster statsu`\nhint: did you mean `debros cluster status`?\n",
        ),
        ("zzz", "error: unknown command `debros zzz`\nhint: `debros --help` lists the commands\n"),
        ("node --data-dri x", "error: `debros node` does not take `--data-dri`\nhint: did you mean `--data-dir`?\n"),
        (
            "cluster",
            "error: missing command: one of status, nodes, invite, remove, transfer-leader, verify\n\
             hint: `debros cluster --help` tells more\n",
        ),
    ] {
        let outcome = debros(line);
        assert_eq!((outcome.exit, outcome.err.as_str(), outcome.out.as_str()), (Exit::Usage, error, ""), "{line}");
    }
    let outcome = debros("cluster invite --ttl soon");
    assert_eq!(outcome.exit, Exit::Usage);
    assert!(outcome.err.contains("`soon` is not a duration"), "{}", outcome.err);
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let outcome = debros("cluster status --format json --data-dir nowhere");
    let error: serde_json::Value = serde_json::from_str(&outcome.err).expect("one object");
    assert_eq!((error["exit_code"].as_u64(), error["code"].as_str()), (Some(5), Some("unavailable")));
    assert_eq!(outcome.out, "");
}

#[test]
fn without_a_daemon_the_error_says_how_to_start_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let outcome = run_in(dir.path(), "cluster nodes --data-dir d", Terminal::Script, "");
    let data_dir = dir.path().join("d");
    assert_eq!(outcome.exit, Exit::Unavailable);
    assert_eq!(
        outcome.err,
        format!(
            "error: no debros daemon is running in {0}\n\
             hint: start one with `debros bootstrap --data-dir {0}`, or name another with --data-dir\n",
            data_dir.display()
        )
    );
    let quiet = run_in(dir.path(), "health --quiet --data-dir d", Terminal::Script, "");
    assert_eq!((quiet.exit, quiet.out.as_str(), quiet.err.as_str()), (Exit::Unavailable, "", ""));
}

#[test]
fn a_daemon_that_goes_away_or_keeps_silent_is_told_apart() {
    let (outcome, _) = against(None, "cluster status", Terminal::Script, "");
    assert_eq!(outcome.exit, Exit::Unavailable);
    assert!(outcome.err.contains("the daemon ended before it answered"), "{}", outcome.err);

    let dir = tempfile::tempdir().expect("temp dir");
    let _listener = UnixListener::bind(dir.path().join(SOCKET_NAME)).expect("binds");
    let outcome = run_in(dir.path(), "cluster status --timeout 20ms --data-dir .", Terminal::Script, "");
    assert_eq!(outcome.exit, Exit::Timeout);
    assert!(outcome.err.contains("did not answer within 20ms"), "{}", outcome.err);
}

#[test]
fn invite_prints_the_token_and_nothing_else() {
    let reply = Reply::ok(&answers::Invitation { token: "TOKEN".to_owned(), expires_unix_ms: 0 });
    let (outcome, request) = against(Some(reply), "cluster invite --role=gateway --ttl 10m", Terminal::Script, "");
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Ok, "TOKEN\n"));
    assert_eq!(outcome.err, "good once, within 10m, for: debros gateway --join TOKEN\n");
    let role = crate::types::role::InviteRole::Gateway;
    assert_eq!(request, Request::Invite { role, ttl_seconds: 600 });
}

#[test]
fn a_created_key_is_printed_alone() {
    let namespace = "chat".parse().expect("valid");
    let reply = Reply::ok(&answers::CreatedKey {
        key: "ak_1:chat".to_owned(),
        id: "1".to_owned(),
        namespace,
        expires_unix_ms: None,
    });
    let (outcome, request) = against(Some(reply), "key create --namespace chat --expires 1d", Terminal::Script, "");
    assert_eq!((outcome.out.as_str(), outcome.err.as_str()), ("ak_1:chat\n", ""));
    assert!(matches!(request, Request::KeyCreate { expires_seconds: Some(86_400), .. }));
    let (_, request) = against(Some(Reply::ok(&answers::Done {})), "key revoke", Terminal::Script, "ak_1:chat\n");
    assert_eq!(request, Request::KeyRevoke { key: "ak_1:chat".to_owned() });
}

#[test]
fn verbs_of_accounts_ask_for_what_was_typed() {
    let done = || Some(Reply::ok(&answers::Done {}));
    let wallet = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let (outcome, request) = against(done(), "auth rotate-signing-key", Terminal::Script, "");
    assert_eq!((outcome.exit, outcome.out.as_str(), request), (Exit::Ok, "", Request::SigningKeyRotate));
    let (_, request) = against(done(), &format!("namespace create chat --owner {wallet}"), Terminal::Script, "");
    assert!(matches!(request, Request::NamespaceCreate { owner: Some(owner), .. } if owner == wallet));
    let (_, request) = against(done(), &format!("namespace member chat {wallet} --role admin"), Terminal::Script, "");
    assert!(matches!(request, Request::MemberSet { role, .. } if role == "admin"));
    let typed = "key create --namespace chat --scope kv:read,sql:read --label web";
    let (_, request) = against(done(), typed, Terminal::Script, "");
    let Request::KeyCreate { scopes, label, .. } = request else { panic!("{request:?}") };
    assert_eq!((scopes.as_deref(), label.as_str()), (Some("sql:read,kv:read"), "web"));
    for (typed, said) in [
        ("key create --namespace chat --scope everything", "`everything` is not a scope"),
        ("namespace member chat 0x1 --role king", "`king` is not a role"),
        ("key list --namespace NO", "is not a namespace name"),
    ] {
        let outcome = debros(typed);
        assert_eq!(outcome.exit, Exit::Usage, "{typed}");
        assert!(outcome.err.contains(said), "{typed}: {}", outcome.err);
    }
}

#[test]
fn a_migration_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().expect("temp dir");
    let none = run_in(dir.path(), "namespace migrate chat nowhere", Terminal::Script, "");
    assert!(none.exit == Exit::Failed && none.err.contains("nowhere"), "{}", none.err);
    let directory = dir.path().join("sql");
    std::fs::create_dir(&directory).expect("made");
    let empty = format!("namespace migrate chat {}", directory.display());
    let outcome = run_in(dir.path(), &empty, Terminal::Script, "");
    assert!(outcome.exit == Exit::Usage && outcome.err.contains("no file that ends in .sql"), "{}", outcome.err);
    std::fs::write(directory.join("001_latin.sql"), b"-- caf\xe9\n").expect("written");
    let outcome = run_in(dir.path(), &empty, Terminal::Script, "");
    assert!(outcome.exit == Exit::Failed && outcome.err.contains("001_latin.sql"), "{}", outcome.err);
}

#[test]
fn what_is_lost_for_good_must_be_confirmed() {
    let outcome = debros("namespace drop chat --data-dir .");
    assert_eq!(outcome.exit, Exit::Declined);
    assert!(outcome.err.contains("pass --yes"), "{}", outcome.err);
    let dir = tempfile::tempdir().expect("temp dir");
    let outcome = run_in(dir.path(), "namespace drop chat", Terminal::Person, "cat\n");
    assert_eq!(outcome.exit, Exit::Declined);
    let done = || Some(Reply::ok(&answers::Done {}));
    let (outcome, _) = against(done(), "namespace drop chat", Terminal::Person, "chat\n");
    assert_eq!(outcome.exit, Exit::Ok);
    let (outcome, request) = against(done(), &format!("cluster remove {} -y", node(7)), Terminal::Script, "");
    assert_eq!((outcome.exit, request), (Exit::Ok, Request::Remove { node: node(7) }));
}

#[test]
fn the_daemons_failures_keep_their_words_and_get_their_exit_code() {
    for (code, exit) in [
        (FailureCode::Invalid, Exit::Usage),
        (FailureCode::NotFound, Exit::NotFound),
        (FailureCode::Unavailable, Exit::Unavailable),
        (FailureCode::Conflict, Exit::Conflict),
        (FailureCode::Timeout, Exit::Timeout),
        (FailureCode::Failed, Exit::Failed),
    ] {
        let failure = Failure { code, message: "it said no".to_owned(), hint: Some("ask again".to_owned()) };
        let (outcome, _) = against(Some(Reply::Error(failure)), "cluster transfer-leader", Terminal::Script, "");
        assert_eq!((outcome.exit, outcome.err.as_str()), (exit, "error: it said no\nhint: ask again\n"));
    }
}

#[test]
fn verify_exits_8_when_replicas_differ_and_5_when_some_are_silent() {
    let hash = |n: u8, hash: &str| answers::ReplicaHash {
        database: "default".to_owned(),
        node: node(n),
        hash: hash.to_owned(),
    };
    let verification = |second: &str, unverified: BTreeMap<NodeId, String>| {
        Some(Reply::ok(&answers::Verification { index: 9, hashes: vec![hash(1, "aa"), hash(2, second)], unverified }))
    };
    let (same, _) = against(verification("aa", BTreeMap::new()), "cluster verify", Terminal::Script, "");
    assert_eq!(same.exit, Exit::Ok, "{}", same.err);
    let (differs, _) = against(verification("bb", BTreeMap::new()), "cluster verify", Terminal::Script, "");
    assert_eq!(differs.exit, Exit::ProblemsFound);
    assert!(differs.out.contains("DIFFERS") && differs.err.contains("replicas differ at index 9 in: default"));
    let silent = BTreeMap::from([(node(3), "away".to_owned())]);
    let (silent, _) = against(verification("aa", silent), "cluster verify", Terminal::Script, "");
    assert_eq!(silent.exit, Exit::Unavailable);
}

#[test]
fn health_says_whether_the_daemon_can_serve() {
    let health = |ready: bool, reasons: &[&str]| {
        let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        Some(Reply::ok(&answers::Health { ready, reasons }))
    };
    let (outcome, _) = against(health(true, &[]), "health", Terminal::Script, "");
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Ok, "ready\n"));
    let (outcome, _) = against(health(false, &["no leader"]), "health", Terminal::Script, "");
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Unavailable, "not ready: no leader\n"));
}

#[test]
fn config_check_names_every_problem_and_exits_8() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("debros.toml");
    std::fs::write(&path, "[node]\nmax_connections = 0\ncolour = 1\n[database]\nshard_count = 3\n").expect("writes");
    let outcome = run_in(dir.path(), "config check", Terminal::Script, "");
    assert_eq!(outcome.exit, Exit::ProblemsFound);
    let file = path.display();
    assert_eq!(
        outcome.out,
        format!(
            "error: node.colour: unknown key; `debros config init` prints every key (from file {file})\n\
             error: node.max_connections: must be > 0; got 0 (from file {file})\n\
             warning: database.shard_count has no effect: data is divided by namespace, not by shard (from file {file})\n"
        )
    );
    let outcome = run_in(dir.path(), "config check --format json", Terminal::Script, "");
    let answer: serde_json::Value = serde_json::from_str(&outcome.out).expect("json");
    assert_eq!((answer["valid"].as_bool(), answer["problems"].as_array().map(Vec::len)), (Some(false), Some(2)));
}

#[test]
fn config_init_writes_the_shipped_file_once_and_show_tells_its_origin() {
    let dir = tempfile::tempdir().expect("temp dir");
    assert_eq!(run_in(dir.path(), "config init", Terminal::Script, "").out, crate::config::SHIPPED);
    let written = run_in(dir.path(), "config init --path debros.toml", Terminal::Script, "");
    assert_eq!((written.exit, written.out.as_str()), (Exit::Ok, ""));
    let again = run_in(dir.path(), "config init --path debros.toml", Terminal::Script, "");
    assert_eq!(again.exit, Exit::Conflict);
    let checked = run_in(dir.path(), "config check", Terminal::Script, "");
    let file = dir.path().join("debros.toml");
    assert_eq!((checked.exit, checked.out), (Exit::Ok, format!("valid: {}\n", file.display())));
    let shown = run_in(dir.path(), "config show --origin", Terminal::Script, "").out;
    assert!(shown.contains(&format!("voters_max = 5  # file {}\n", file.display())), "{shown}");
}

#[test]
fn exit_codes_are_documented_by_the_command_itself() {
    let outcome = debros("help exit-codes");
    for exit in Exit::ALL {
        let line = format!("{:<6}{}", exit.code(), exit.name());
        assert!(outcome.out.lines().any(|l| l.starts_with(&line)), "{line}:\n{}", outcome.out);
    }
}

#[test]
fn a_measurement_that_contradicts_itself_is_refused() {
    for (line, message) in [
        ("bench sql --url 127.0.0.1:5001 --nodes 3", "--nodes and --via are for own nodes"),
        ("bench sql --via follower", "--via follower needs more than one node"),
        ("bench sql --nodes 10", "--nodes must be between 1 and 9; got 10"),
        ("bench sql --user chat:ak_1:chat", "--user is for --url"),
        ("bench sql --connections 16,0", "must be numbers between 1 and 1000; got 16,0"),
        ("bench sql --level none,exact", "allowed values: none, weak, linearizable, strong"),
        ("bench sql --url https://127.0.0.1:5001", "is not like http://127.0.0.1:5001"),
        ("bench sql --via gateway", "--via gateway is for `debros bench gateway`"),
        ("bench gateway --workload kv", "allowed values: health, kv-get, kv-put, sql-query, sql-exec, all"),
        ("bench gateway --value-bytes 0", "--value-bytes must be between 1 and 32768; got 0"),
        ("bench gateway --key ak_1:chat", "--key is for --url"),
        ("bench gateway --url 127.0.0.1:6001 --jwt", "--jwt needs a key to exchange"),
        ("bench gateway --url 127.0.0.1:6001 --via gateway", "--nodes, --via and --log-level are for own processes"),
        ("bench echo --answer-bytes 9999999", "--answer-bytes must be at most 1048576; got 9999999"),
    ] {
        let outcome = debros(line);
        assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Usage, ""), "{line}");
        assert!(outcome.err.contains(message), "{line}: {}", outcome.err);
    }
}
