//! `debros bench pubsub`, from the command line to the messages of nodes that it starts itself. No figure is judged here.

use std::path::Path;
use std::process::{Command, Output};

fn bench(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_debros"));
    command.args(["bench", "pubsub", "--duration", "200ms", "--format", "json", "--data-dir"]).arg(dir).args(args);
    command.output().expect("runs")
}

/// The runs of a report in which every message came.
fn runs(output: &Output) -> Vec<serde_json::Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let runs = report["runs"].as_array().expect("runs").clone();
    for run in &runs {
        assert_eq!((&run["errors"], &run["lost"]), (&0.into(), &0.into()), "{run}");
        assert_eq!(run["delivered"], run["expected"], "{run}");
        for figure in ["delivered", "published_per_second", "delivered_per_second", "p50_us", "max_us"] {
            assert!(run[figure].as_f64().expect("a number") > 0.0, "{run}");
        }
    }
    runs
}

fn names(runs: &[serde_json::Value]) -> Vec<(Option<&str>, Option<u64>)> {
    runs.iter().map(|run| (run["workload"].as_str(), run["size_bytes"].as_u64())).collect()
}

#[test]
fn every_message_of_every_workload_comes_and_nothing_stays_behind() {
    let dir = tempfile::tempdir().expect("temp dir");
    let runs = runs(&bench(dir.path(), &["--clients", "5", "--size", "16,65536"]));
    let expected = ["fan_out", "fan_in", "many_topics"].into_iter().flat_map(|name| [(name, 16), (name, 65536)]);
    assert_eq!(names(&runs), expected.map(|(name, size)| (Some(name), Some(size))).collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0);
}

#[test]
fn every_message_comes_to_the_other_nodes_too() {
    let dir = tempfile::tempdir().expect("temp dir");
    let args = ["--nodes", "3", "--placement", "across", "--clients", "4", "--size", "1024"];
    assert_eq!(runs(&bench(dir.path(), &args)).len(), 3);
}

#[test]
fn what_cannot_be_measured_is_told() {
    let dir = tempfile::tempdir().expect("temp dir");
    for (args, code, said) in [
        (&["--placement", "across"][..], 2, "add --nodes 3"),
        (&["--size", "11"], 2, "between 12 and 1048576"),
        (&["--placement", "across", "--nodes", "2", "--nats", "h:1"], 2, "add a second --nats"),
        (&["--url", "http://127.0.0.1:1", "--key", "ak_1:chat"], 5, "cannot connect to 127.0.0.1:1"),
    ] {
        let output = bench(dir.path(), args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
        assert!(told.contains(said), "{args:?}: {told}");
    }
}
