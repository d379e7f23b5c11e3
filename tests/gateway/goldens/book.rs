//! Exchanges with a node, written down page by page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::placeholders::Placeholders;
use crate::gateway::events::Events;
use crate::support::TestNode;
use crate::support::http::{Answer, Client, read_head, receive};

/// Headers that say nothing that a reader would compare, or that are checked for every answer.
const LEFT_OUT: &[&str] = &[
    "cache-control",
    "content-length",
    "date",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-content-type-options",
    "x-request-id",
];

/// Longest body that is shown.
const SHOWN_BYTES_MAX: usize = 4000;

/// The page of requests that lead to no route.
const NO_ROUTE: &str = "no-route";

/// What somebody shows to prove who they are.
pub(super) type Credential = Option<(&'static str, String)>;

/// A request.
#[derive(Clone, Debug, Default)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) who: Credential,
    pub(super) headers: Vec<(&'a str, &'a str)>,
    pub(super) body: String,
}

impl<'a> Request<'a> {
    pub(super) fn new(method: &'a str, target: &'a str) -> Request<'a> {
        Request { method, target, ..Request::default() }
    }

    pub(super) fn by(self, who: &Credential) -> Request<'a> {
        Request { who: who.clone(), ..self }
    }

    pub(super) fn header(mut self, name: &'a str, value: &'a str) -> Request<'a> {
        self.headers.push((name, value));
        self
    }

    pub(super) fn json(self, body: Value) -> Request<'a> {
        Request { body: body.to_string(), ..self }.header("Content-Type", "application/json")
    }

    pub(super) fn text(self, body: &str) -> Request<'a> {
        Request { body: body.to_owned(), ..self }
    }
}

/// One chapter's pages.
pub(super) struct Book {
    chapter: &'static str,
    pub(super) contract: Value,
    address: String,
    http: Client,
    pages: BTreeMap<String, String>,
    placeholders: Placeholders,
}

impl Book {
    pub(super) fn open(chapter: &'static str, node: &TestNode) -> Book {
        let mut http = node.gateway();
        let contract = http.get("/openapi.json").json();
        let address = node.gateway_address().to_owned();
        let mut placeholders = Placeholders::default();
        placeholders.conceal(&address, "gateway");
        placeholders.conceal(&node.id().to_string(), "node_id");
        Book { chapter, contract, address, http, pages: BTreeMap::new(), placeholders }
    }

    /// Shows `<name>` instead of a text from now on.
    pub(super) fn conceal(&mut self, text: &str, name: &str) {
        self.placeholders.conceal(text, name);
    }

    /// Asks, and writes question and answer down.
    pub(super) fn ask(&mut self, title: &str, request: Request<'_>) -> Answer {
        let answer = self.exchange(&request);
        self.note(title, &request, &answer);
        answer
    }

    /// Writes an exchange down.
    pub(super) fn note(&mut self, title: &str, request: &Request<'_>, answer: &Answer) {
        self.check(request, answer);
        let shown = self.show(answer);
        self.write(title, request, &shown);
    }

    /// Asks, and writes one line down: for the many refusals that differ in little.
    pub(super) fn line(&mut self, what: &str, request: &Request<'_>) -> Answer {
        let answer = self.exchange(request);
        self.check(request, &answer);
        let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let line = format!("{what}: {} {} {}", answer.status, text("code"), text("error"));
        let line = self.placeholders.settle(line.trim_end());
        let page = self.page(request);
        writeln!(self.pages.entry(page).or_default(), "{line}").expect("a text grows");
        answer
    }

    /// Asks with the head alone of a request whose body has `bytes`, and writes the answer down.
    pub(super) fn announce(&mut self, title: &str, request: Request<'_>, bytes: usize) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.write_all(&self.head_of(&request, bytes)).expect("sent");
        let (answer, _) = receive(&mut BufReader::new(stream), request.method).expect("an answer");
        self.note(title, &request.text(&format!("<{bytes} bytes>")), &answer);
    }

    /// The head of a request whose body has `bytes`.
    pub(super) fn head_of(&self, request: &Request<'_>, bytes: usize) -> Vec<u8> {
        let Request { method, target, .. } = request;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: {bytes}\r\n", self.address);
        for (name, value) in request.headers.iter().copied().chain(shown(&request.who)) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        (head + "\r\n").into_bytes()
    }

    /// Asks for a stream, and writes down what came until `last` was in it.
    pub(super) fn stream(&mut self, title: &str, request: Request<'_>, last: &str) {
        let headers: Vec<(&str, &str)> = request.headers.iter().copied().chain(shown(&request.who)).collect();
        let mut events = Events::open(&self.address, request.target, &headers);
        let answer = events.head().clone();
        let mut shown = self.head(&answer);
        while !shown.contains(last) {
            let event = events.next_event();
            let event = event.replace(&format!("id: {}", event_id(&event)), "id: <change>");
            shown.push_str(&self.placeholders.settle(&without_numbers(&without_names(&event))));
            shown.push('\n');
        }
        self.write(title, &request, shown.trim_end());
    }

    /// Asks for another use of the connection, and writes the answer's head down.
    pub(super) fn open_socket(&mut self, title: &str, request: Request<'_>) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.write_all(&self.head_of(&request, 0)).expect("sent");
        let answer = read_head(&mut BufReader::new(stream)).expect("a head");
        let head = self.head(&answer);
        self.write(title, &request, head.trim_end());
    }

    /// Where the node listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Asks without writing anything down.
    pub(super) fn silently(&mut self, request: &Request<'_>) -> Answer {
        self.exchange(request)
    }

    fn exchange(&mut self, request: &Request<'_>) -> Answer {
        let headers: Vec<(&str, &str)> = request.headers.iter().copied().chain(shown(&request.who)).collect();
        let answer = self.http.request(request.method, request.target, &headers, &request.body);
        answer.unwrap_or_else(|error| panic!("{request:?}: {error}"))
    }

    /// What holds for every answer.
    fn check(&self, request: &Request<'_>, answer: &Answer) {
        let id = answer.header("x-request-id").unwrap_or_else(|| panic!("{request:?}: {answer:?}"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{request:?}");
        if answer.status < 400 || !answer.header("content-type").is_some_and(|text| text.contains("json")) {
            return;
        }
        let said = answer.json();
        if said.get("code").is_none() && answer.status == 503 {
            return;
        }
        let codes = &self.contract["components"]["schemas"]["Error"]["properties"]["code"]["enum"];
        assert!(codes.as_array().is_some_and(|codes| codes.contains(&said["code"])), "{request:?}: {said}");
        assert_eq!(said["request_id"], id, "{request:?}");
        assert!(said["error"].as_str().is_some_and(|text| !text.is_empty()), "{request:?}: {said}");
        let retryable = said["retryable"].as_bool().expect("it says whether to try again");
        assert_eq!(answer.header("retry-after").is_some(), retryable, "{request:?}: {said}");
        assert_eq!(answer.header("www-authenticate").is_some(), answer.status == 401, "{request:?}");
    }

    fn show(&mut self, answer: &Answer) -> String {
        let mut shown = self.head(answer);
        let kind = answer.header("content-type").unwrap_or_default();
        if answer.body.is_empty() {
            return shown.trim_end().to_owned();
        }
        if kind.contains("openmetrics") {
            shown.push_str("<measurements>");
        } else if kind.contains("json") && answer.body.len() <= SHOWN_BYTES_MAX {
            let settled = self.placeholders.settle_json(&answer.json());
            shown.push_str(&serde_json::to_string_pretty(&settled).expect("JSON"));
        } else if answer.body.len() <= SHOWN_BYTES_MAX && std::str::from_utf8(&answer.bytes).is_ok() {
            shown.push_str(&self.placeholders.settle(answer.body.trim_end()));
        } else {
            shown.push_str("<a long body>");
        }
        shown
    }

    fn head(&self, answer: &Answer) -> String {
        let mut head = format!("{}\n", answer.status);
        for (name, value) in answer.headers().filter(|(name, _)| !LEFT_OUT.contains(name)) {
            let value = match name {
                "debros-index" => "<index>".to_owned(),
                "etag" => "<etag>".to_owned(),
                "retry-after" => "<seconds>".to_owned(),
                _ => self.placeholders.settle(value),
            };
            writeln!(head, "{name}: {value}").expect("a text grows");
        }
        head
    }

    fn write(&mut self, title: &str, request: &Request<'_>, answer: &str) {
        let Request { method, target, headers, body, .. } = request;
        let mut text = format!("--- {title}\n{method} {}\n", self.placeholders.settle(target));
        for (name, value) in
            headers.iter().copied().chain(shown(&request.who)).filter(|(name, _)| *name != "Content-Type")
        {
            let value = if name.starts_with("If-") && value.starts_with('"') { "<etag>" } else { value };
            let value = self.placeholders.settle(value);
            let value = if value.len() > 100 { "<a long text>" } else { &value };
            writeln!(text, "{name}: {value}").expect("a text grows");
        }
        if !body.is_empty() {
            let body =
                if body.len() > SHOWN_BYTES_MAX { "<a long body>".to_owned() } else { self.placeholders.settle(body) };
            writeln!(text, "{body}").expect("a text grows");
        }
        let page = self.page(request);
        writeln!(self.pages.entry(page).or_default(), "{text}\n{answer}\n").expect("a text grows");
    }

    /// The route that a request leads to, as a file can be called.
    fn page(&self, request: &Request<'_>) -> String {
        let path = request.target.split('?').next().unwrap_or_default();
        let paths = self.contract["paths"].as_object().expect("paths");
        let template = paths.get_key_value(path).or_else(|| paths.iter().find(|(template, _)| fits(template, path)));
        let method = if request.method == "HEAD" { "get".to_owned() } else { request.method.to_ascii_lowercase() };
        match template {
            Some((template, item)) if item.get(&method).is_some() => page_name(&method, template),
            _ => NO_ROUTE.to_owned(),
        }
    }

    /// Compares every page, and makes sure that there is none of this chapter that nobody wrote.
    pub(super) fn close(self) {
        let name = |page: &str| format!("{}-{page}", self.chapter);
        for (page, text) in &self.pages {
            insta::with_settings!(
                { snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true },
                { insta::assert_snapshot!(name(page), text.trim_end()) }
            );
        }
        let written: Vec<String> = self.pages.keys().map(|page| name(page)).collect();
        for (file, _) in snapshots().iter().filter(|(file, _)| file.split('-').next() == Some(self.chapter)) {
            assert!(written.contains(file), "snapshots/{file}.snap is of no route that is asked: remove it");
        }
    }
}

/// Every page of every chapter: its name and its text.
pub(super) fn snapshots() -> Vec<(String, String)> {
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/goldens/snapshots");
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "snap"));
    pages
        .map(|path| {
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            (name, std::fs::read_to_string(&path).expect("a page"))
        })
        .collect()
}

/// A route as a file can be called.
pub(super) fn page_name(method: &str, template: &str) -> String {
    let path = template.trim_start_matches('/').replace(['{', '}'], "").replace('/', "_");
    format!("{}_{path}", method.to_ascii_uppercase())
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(path).all(|(template, part)| *template == part || template.starts_with('{'))
}

fn shown(who: &Credential) -> Option<(&'static str, &str)> {
    who.as_ref().map(|(name, value)| (*name, value.as_str()))
}

fn event_id(event: &str) -> &str {
    event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap_or("none")
}

/// An event without the numbers in its JSON: versions and places among the changes.
/// Names that are drawn anew in each run.
fn without_names(event: &str) -> String {
    ["message_id", "publisher"].into_iter().fold(event.to_owned(), |event, member| {
        let member = format!("\"{member}\":\"");
        let Some((before, value)) = event.split_once(&member) else { return event };
        let after = value.split_once('"').map_or("", |(_, after)| after);
        format!("{before}{member}<>\"{after}")
    })
}

fn without_numbers(event: &str) -> String {
    let mut parts = event.split("data: ");
    let before = parts.next().unwrap_or_default();
    let data = parts.next().unwrap_or_default();
    let mut settled = format!("{before}data: ");
    for c in data.chars() {
        if !c.is_ascii_digit() {
            settled.push(c);
        } else if !settled.ends_with('#') {
            settled.push('#');
        }
    }
    settled
}
