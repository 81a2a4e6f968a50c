//! Policy: where the port connects to, and what nobody gets to read.

use crate::support::{Watched, source};
use protocol::camera::{Allow, Login, Source, SourceFault};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server that answers every request alike, and counts them. Ends with the test.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it listens").to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream, &answer, &counting);
        }
    });
    (address, asked)
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str) -> String, asked: &AtomicUsize) {
    let (mut text, mut chunk) = (String::new(), [0u8; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        text.push_str(&String::from_utf8_lossy(&chunk[..count]));
        while let Some((request, rest)) = text.split_once("\r\n\r\n") {
            asked.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(answer(request).as_bytes());
            text = rest.to_owned();
        }
    }
}

/// An RTSP answer to this request, with more headers.
fn rtsp(request: &str, status: &str, headers: &str) -> String {
    let cseq = request.lines().find(|line| line.starts_with("CSeq")).unwrap_or("CSeq: 1");
    format!("RTSP/1.0 {status}\r\n{cseq}\r\n{headers}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_no_camera_unless_allowed() {
    let (address, asked) = server(|request| rtsp(request, "404 Not Found", ""));
    for url in [format!("rtsp://{address}/cam"), format!("http://{address}/cam"), "rtsp://169.254.169.254/".to_owned()]
    {
        let mut watched = Watched::open(Source { allow: Allow::default(), ..source(url) }).await;
        let (fault, text) = watched.failed().await;
        assert_eq!(fault, SourceFault::Forbidden, "{text}");
        assert!(text.contains("sources.allow") || text.contains("metadata"), "{text}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_leads_nowhere_else() {
    let (elsewhere, asked) = server(|request| rtsp(request, "200 OK", ""));
    let to = elsewhere.clone();
    let (address, _) =
        server(move |request| rtsp(request, "302 Found", &format!("Location: rtsp://bob:hunter2@{to}/cam\r\n")));
    let mut watched = Watched::open(source(format!("rtsp://{address}/cam"))).await;
    let (fault, text) = watched.failed().await;
    assert_eq!(fault, SourceFault::Forbidden, "{text}");
    assert!(text.contains(&elsewhere) && !text.contains("hunter2"), "{text}");
    let to = elsewhere.clone();
    let (address, _) =
        server(move |_| format!("HTTP/1.1 302 Found\r\nLocation: http://{to}/\r\nContent-Length: 0\r\n\r\n"));
    let mut watched = Watched::open(source(format!("http://{address}/cam"))).await;
    watched.failed().await;
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing was asked there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_told_without_it() {
    let (rtsp_at, _) = server(|request| rtsp(request, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"cam\"\r\n"));
    let (http_at, _) = server(|_| {
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"cam\"\r\nContent-Length: 0\r\n\r\n".to_owned()
    });
    for url in [format!("rtsp://{rtsp_at}/cam"), format!("http://{http_at}/cam")] {
        let login = Some(Login { user: "bob".to_owned(), password: "hunter2".to_owned() });
        let mut watched = Watched::open(Source { login, ..source(url) }).await;
        let pid = watched.port.pid().expect("it runs");
        for file in ["cmdline", "environ"] {
            let shown = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&shown).contains("hunter2"), "{file}");
        }
        let (fault, text) = watched.failed().await;
        assert_eq!(fault, SourceFault::Unauthorized, "{text}");
        assert!(!text.contains("hunter2") && !text.contains("bob"), "{text}");
    }
}
