//! The loop over real sockets.

use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

async fn start(limits: HttpLimits) -> (SocketAddr, Tasks, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let tasks = Tasks::new();
    let owner = tasks.clone();
    let running = tasks.spawn(async move {
        serve(listener, limits, &owner, |_, request| async {
            let slow = request.uri().path() == "/slow";
            let answer = match read_body(request.into_body(), 10, SECOND / 2).await {
                Ok(body) => body,
                Err(error) => Bytes::from(error.to_string()),
            };
            if slow {
                tokio::time::sleep(SECOND / 5).await;
            }
            Response::new(Either::Left(Full::new(answer)))
        })
        .await;
    });
    (address, tasks, running)
}

async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    tokio::time::timeout(5 * SECOND, stream.read_to_string(&mut answer)).await.expect("in time").expect("reads");
    answer
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_cut_off() {
    let (address, tasks, _) =
        start(HttpLimits { header_timeout: Duration::from_millis(100), ..HttpLimits::default() }).await;
    let answer = exchange(address, "GET / HTTP/1.1\r\nHost: x\r\n").await;
    assert!(!answer.contains("200 OK"), "{answer}");
    assert!(tasks.stop(5 * SECOND).await);
}

#[tokio::test]
async fn an_idle_connection_has_more_time_than_a_slow_one_and_is_closed_after_it() {
    let (idle_timeout, header_timeout) = (SECOND / 2, SECOND / 10);
    let (address, tasks, _) = start(HttpLimits { header_timeout, idle_timeout, ..HttpLimits::default() }).await;
    let mut stream = TcpStream::connect(address).await.expect("connects");
    for _ in 0..3 {
        tokio::time::sleep(SECOND / 4).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("writes");
        let mut part = [0; 1024];
        let count = stream.read(&mut part).await.expect("is served");
        assert!(count > 0, "it is still open");
    }
    let since = std::time::Instant::now();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(5 * SECOND, stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "it is closed in the end");
    assert!(since.elapsed() >= SECOND / 3, "{:?}", since.elapsed());
    let mut slow = TcpStream::connect(address).await.expect("connects");
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT").await.expect("writes");
    let since = std::time::Instant::now();
    tokio::time::timeout(5 * SECOND, slow.read_to_end(&mut rest)).await.expect("in time").expect("is closed");
    assert!(since.elapsed() < 3 * SECOND, "{:?}", since.elapsed());
    assert!(tasks.stop(5 * SECOND).await);
}

#[tokio::test]
async fn one_connection_too_many_is_turned_away_and_the_others_live() {
    let (address, tasks, _) = start(HttpLimits { connections_max: 1, ..HttpLimits::default() }).await;
    let mut first = TcpStream::connect(address).await.expect("connects");
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("writes");
    let mut byte = [0];
    first.read_exact(&mut byte).await.expect("is served");
    let mut second = TcpStream::connect(address).await.expect("connects");
    let mut answer = Vec::new();
    // The answer may be lost to a reset; what counts is that the connection ends.
    drop(tokio::time::timeout(5 * SECOND, second.read_to_end(&mut answer)).await.expect("in time"));
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("writes");
    let mut rest = String::new();
    first.read_to_string(&mut rest).await.expect("is still served");
    assert_eq!(rest.matches("200 OK").count(), 2, "{rest}");
    assert!(tasks.stop(5 * SECOND).await);
}

#[tokio::test]
async fn a_body_is_bounded_by_its_declared_its_real_size_and_its_time() {
    let (address, tasks, _) = start(HttpLimits::default()).await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let declared = exchange(address, &format!("{head}Content-Length: 11\r\n\r\n")).await;
    assert!(declared.ends_with("larger than 10 bytes"), "{declared}");
    let chunked =
        exchange(address, &format!("{head}Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nghijkl\r\n0\r\n\r\n"))
            .await;
    assert!(chunked.ends_with("larger than 10 bytes"), "{chunked}");
    let pieces =
        exchange(address, &format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")).await;
    assert!(pieces.ends_with("abcde"), "{pieces}");
    let slow = exchange(address, &format!("{head}Content-Length: 9\r\n\r\nabc")).await;
    assert!(slow.ends_with("did not arrive in time"), "{slow}");
    assert!(tasks.stop(5 * SECOND).await);
}

#[tokio::test]
async fn stopping_lets_a_running_request_end_and_then_returns() {
    let (address, tasks, running) = start(HttpLimits::default()).await;
    let idle = TcpStream::connect(address).await.expect("connects");
    let asked = tokio::join!(exchange(address, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"), async {
        tokio::time::sleep(SECOND / 20).await;
        drop(idle);
        tasks.stop(5 * SECOND).await
    });
    assert!(asked.0.contains("200 OK"), "{}", asked.0);
    assert!(asked.1, "stopped within the grace period");
    running.await.expect("the loop ended");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_dropped() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let tasks = Tasks::new();
    let owner = tasks.clone();
    let limits = HttpLimits { stall_timeout: Duration::from_millis(100), ..HttpLimits::default() };
    let running = tasks.spawn(async move {
        serve(listener, limits, &owner, |_, _| async {
            Response::new(Either::Left(Full::new(Bytes::from(vec![0; 64 * 1024 * 1024]))))
        })
        .await;
    });
    let mut deaf = TcpStream::connect(address).await.expect("connects");
    deaf.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("writes");
    tokio::time::sleep(SECOND).await;
    let mut answer = Vec::new();
    drop(tokio::time::timeout(5 * SECOND, deaf.read_to_end(&mut answer)).await.expect("the connection ended"));
    assert!(answer.len() < 64 * 1024 * 1024, "the rest was dropped");
    assert!(tasks.stop(5 * SECOND).await);
    running.await.expect("the loop ended");
}
