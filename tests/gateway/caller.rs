//! Somebody who calls the gateway of one process, with a credential or without, and logs in with a wallet.

use serde_json::{Value, json};

use crate::support::http::{Answer, Client};
use crate::support::node::{Launch, root};
use crate::support::{TestNode, Wallet};

/// A client with what it shows of itself.
#[derive(Debug)]
pub(crate) struct Caller {
    http: Client,
    credential: Option<(&'static str, String)>,
}

/// What a login gives.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Session {
    pub(crate) fn of(answer: &Value) -> Session {
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        Session { access: text("access_token"), refresh: text("refresh_token") }
    }
}

impl Caller {
    /// Nobody in particular.
    pub(crate) fn at(node: &TestNode) -> Caller {
        Caller { http: node.gateway(), credential: None }
    }

    /// The same process, asked with an API key.
    pub(crate) fn with_key(node: &TestNode, key: &str) -> Caller {
        Caller { credential: Some(("X-API-Key", key.to_owned())), ..Caller::at(node) }
    }

    /// The same process, asked with an access token.
    pub(crate) fn with_token(node: &TestNode, token: &str) -> Caller {
        Caller { credential: Some(("Authorization", format!("Bearer {token}"))), ..Caller::at(node) }
    }

    /// A member, logged in.
    pub(crate) fn member(node: &TestNode, wallet: &Wallet, namespace: &str) -> Caller {
        Caller::with_token(node, &Caller::at(node).log_in(wallet, namespace).access)
    }

    /// One exchange with a JSON body; null is none.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &Value) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, target, &[("Content-Type", "application/json")], text.as_bytes())
    }

    /// One exchange.
    pub(crate) fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all = headers.to_vec();
        if let Some((name, value)) = &self.credential {
            all.push((name, value));
        }
        let answer = self.http.request(method, target, &all, body);
        answer.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// One exchange that must succeed; its JSON.
    pub(crate) fn ok(&mut self, method: &str, target: &str, body: &Value) -> Value {
        let answer = self.ask(method, target, body);
        assert!((200..300).contains(&answer.status), "{method} {target} {body}: {answer:?}");
        answer.json()
    }

    /// One exchange that must be refused so; its JSON.
    pub(crate) fn refused(&mut self, method: &str, target: &str, body: &Value, status: u16, code: &str) -> Value {
        let answer = self.ask(method, target, body);
        let said = answer.json();
        assert_eq!((answer.status, said["code"].as_str()), (status, Some(code)), "{method} {target} {body}: {said}");
        said
    }

    /// A statement that writes; its place in the log.
    pub(crate) fn exec(&mut self, sql: &str) -> u64 {
        let answer = self.ask("POST", "/v1/db/exec", &json!({ "sql": sql }));
        assert_eq!(answer.status, 200, "{sql}: {answer:?}");
        answer.header("debros-index").and_then(|index| index.parse().ok()).expect("a write has an index")
    }

    /// The rows of a query, as lists.
    pub(crate) fn rows(&mut self, sql: &str) -> Value {
        self.ok("POST", "/v1/db/query", &json!({ "sql": sql }))["rows"].take()
    }

    /// A signed challenge, as `verify`, `register` and `api-key` take it.
    pub(crate) fn proof(&mut self, wallet: &Wallet, namespace: &str, purpose: &str) -> Value {
        let (address, chain_type) = (wallet.address(), wallet.chain());
        let body = json!({ "wallet": address, "chain_type": chain_type, "namespace": namespace, "purpose": purpose });
        let challenge = self.ok("POST", "/v1/auth/challenge", &body);
        let signature = wallet.sign(challenge["message"].as_str().expect("a text to sign"));
        json!({ "wallet": address, "chain_type": chain_type, "namespace": namespace,
            "nonce": challenge["nonce"], "signature": signature })
    }

    /// A login, whatever becomes of it.
    pub(crate) fn verify(&mut self, wallet: &Wallet, namespace: &str) -> Answer {
        let proof = self.proof(wallet, namespace, "login");
        self.ask("POST", "/v1/auth/verify", &proof)
    }

    /// A login that must succeed.
    pub(crate) fn log_in(&mut self, wallet: &Wallet, namespace: &str) -> Session {
        let answer = self.verify(wallet, namespace);
        assert_eq!(answer.status, 200, "{} in {namespace}: {answer:?}", wallet.address());
        Session::of(&answer.json())
    }

    /// Status of `whoami`: whether the credential is good here.
    pub(crate) fn known(&mut self) -> u16 {
        self.ask("GET", "/v1/auth/whoami", &Value::Null).status
    }
}

/// A launch for tests that log in more often than people do.
pub(crate) fn unhurried(launch: Launch) -> Launch {
    launch.set("GATEWAY__LOGINS_PER_MINUTE", "0")
}

/// A node alone, with these settings.
pub(crate) fn start(settings: &[(&str, &str)]) -> TestNode {
    let launch = unhurried(Launch::new("bootstrap"));
    let launch = settings.iter().fold(launch, |launch, (key, value)| launch.set(key, value));
    let mut node = TestNode::new(launch, &root(), "node");
    node.start();
    accounts_ready(&node);
    node
}

/// Waits until wallets can log in through a process: a new cluster first makes the accounts' database.
pub(crate) fn accounts_ready(node: &TestNode) {
    crate::support::soon("the signing keys are there", || {
        (node.gateway().get("/v1/auth/jwks").status == 200).then_some(())
    });
}
