//! `debros bench isolation`, from the command line to the answers of nodes that it starts itself. No figure is judged
//! here.

use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_debros"));
    command.args(["bench", "isolation", "--duration", "200ms"]).args(args);
    command.output().expect("runs")
}

#[test]
fn both_namespaces_are_answered_without_an_error_and_nothing_stays_behind() {
    let dir = tempfile::tempdir().expect("temp dir");
    let name = dir.path().to_str().expect("a name");
    let output = bench(&["--connections", "4", "--format", "json", "--data-dir", name]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let runs = report["runs"].as_array().expect("runs");
    assert_eq!(runs.iter().map(|run| &run["flood"]).collect::<Vec<_>>(), ["reads", "writes", "heavy_writes", "mixed"]);
    for run in runs {
        assert_eq!(run["errors"], 0, "{run}");
        assert!(run["flood_per_second"].as_f64().expect("a rate") > 0.0, "{run}");
        let felt = run["felt"].as_array().expect("kinds of requests");
        let kinds: Vec<_> = felt.iter().map(|felt| &felt["requests"]).collect();
        assert_eq!(kinds, ["kv-get linearizable", "sql-query linearizable", "sql-exec", "all"]);
        for felt in felt {
            for latencies in ["calm", "flooded"] {
                assert!(felt[latencies]["p99_us"].as_u64() > Some(0), "{felt}");
            }
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0);
}

#[test]
fn what_cannot_be_done_is_told() {
    for (args, told) in [
        (["--connections", "0"], "--connections must be between 1 and 1000; got 0"),
        (["--via", "follower"], "--via follower needs more than one node; add --nodes 3"),
        (["--flood", "rain"], "allowed values: reads, writes, heavy-writes, mixed, all"),
    ] {
        let output = bench(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(told), "{said}");
    }
}
