//! `debros bench gateway`, from the command line to the answers of processes that it starts itself. No figure is judged
//! here.

use std::path::Path;
use std::process::{Command, Output};

fn bench(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_debros"));
    command.args(["bench", "gateway", "--duration", "200ms", "--format", "json", "--data-dir"]).arg(dir).args(args);
    command.output().expect("runs")
}

/// The runs of a report without an error.
fn runs(output: &Output) -> Vec<serde_json::Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let runs = report["runs"].as_array().expect("runs").clone();
    for run in &runs {
        assert_eq!(run["errors"], 0, "{run}");
        for rate in ["requests_per_second", "echo_requests_per_second", "of_echo"] {
            assert!(run[rate].as_f64().expect("a rate") > 0.0, "{run}");
        }
    }
    runs
}

#[test]
fn every_workload_is_answered_without_an_error_and_nothing_stays_behind() {
    let dir = tempfile::tempdir().expect("temp dir");
    let output = bench(dir.path(), &["--connections", "1,4", "--value-bytes", "1000"]);
    let runs = runs(&output);
    let names: Vec<_> = runs.iter().filter_map(|run| run["workload"].as_str()).collect();
    let expected = ["health", "kv_get", "kv_put", "sql_query", "sql_exec"];
    assert_eq!(names, expected.into_iter().flat_map(|name| [name, name]).collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0);
}

#[test]
fn a_follower_and_a_gateway_without_data_answer_too_with_an_access_token() {
    for via in ["follower", "gateway"] {
        let dir = tempfile::tempdir().expect("temp dir");
        let args = ["--nodes", "3", "--via", via, "--jwt", "--connections", "4", "--level", "none,linearizable"];
        assert_eq!(runs(&bench(dir.path(), &args)).len(), 7, "{via}");
    }
}

#[test]
fn a_gateway_that_runs_is_asked_where_it_is() {
    let dir = tempfile::tempdir().expect("temp dir");
    let output = bench(dir.path(), &["--url", "http://127.0.0.1:1", "--key", "ak_1:chat"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot connect to 127.0.0.1:1"));
}
