//! `debros bench sql`, from the command line to the answers of nodes that it starts itself. No figure is judged here.

use std::path::Path;
use std::process::{Command, Output};

fn bench(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_debros"));
    command.args(["bench", "sql", "--duration", "200ms", "--format", "json", "--data-dir"]).arg(dir).args(args);
    command.output().expect("runs")
}

fn runs(output: &Output) -> Vec<serde_json::Value> {
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}\n{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    });
    assert!(report["fdatasyncs_per_second"].as_f64().expect("a rate") > 0.0);
    report["runs"].as_array().expect("runs").clone()
}

#[test]
fn every_workload_is_answered_without_an_error_and_nothing_stays_behind() {
    let dir = tempfile::tempdir().expect("temp dir");
    let output = bench(dir.path(), &["--connections", "1,4"]);
    let runs = runs(&output);
    let names: Vec<_> = runs.iter().map(|run| (run["workload"].as_str(), run["level"].as_str())).collect();
    let read = |level| (Some("read"), Some(level));
    let expected = [(Some("insert"), None), (Some("transaction"), None)];
    let expected = expected.into_iter().chain(["none", "weak", "linearizable", "strong"].map(read));
    assert_eq!(names, expected.flat_map(|name| [name, name]).collect::<Vec<_>>());
    for run in &runs {
        assert_eq!(run["errors"], 0, "{run}");
        assert!(run["requests_per_second"].as_f64().expect("a rate") > 0.0, "{run}");
        assert!(run["echo_requests_per_second"].as_f64().expect("a rate") > 0.0, "{run}");
    }
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0);
}

#[test]
fn three_nodes_answer_at_a_follower() {
    let dir = tempfile::tempdir().expect("temp dir");
    let output = bench(
        dir.path(),
        &[
            "--nodes",
            "3",
            "--via",
            "follower",
            "--connections",
            "4",
            "--workload",
            "all",
            "--level",
            "none,linearizable",
        ],
    );
    for run in runs(&output) {
        assert_eq!(run["errors"], 0, "{run}");
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn without_a_listener_the_answer_is_unavailable() {
    let dir = tempfile::tempdir().expect("temp dir");
    let output = bench(dir.path(), &["--url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot connect to 127.0.0.1:1"));
}
