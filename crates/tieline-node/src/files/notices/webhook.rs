//! Telling a webhook: a POST of the notice, tried again a few times.

use std::io;
use std::time::Duration;

use axum::http::Uri;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// The port of an address that names none.
const PORT_DEFAULT: u16 = 80;
/// How long one try may take.
const TRY_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait before each further try.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25), Duration::from_secs(125)];

/// The port that has to be reached to tell this address.
pub(in crate::files) fn port(address: &Uri) -> u16 {
    address.port_u16().unwrap_or(PORT_DEFAULT)
}

/// Tells one after the other until nobody has more to tell.
pub(super) async fn serve(address: Uri, mut posts: mpsc::Receiver<String>) {
    while let Some(notice) = posts.recv().await {
        tell(&address, notice.into(), &PAUSES).await;
    }
}

async fn tell(address: &Uri, notice: Bytes, pauses: &[Duration]) {
    let mut pauses = pauses.iter();
    loop {
        let tried = timeout(TRY_TIME_MAX, post(address, notice.clone())).await;
        let trouble = match tried {
            Ok(Ok(status)) if status.is_success() => return debug!(%address, "the webhook was told"),
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer for {TRY_TIME_MAX:?}"),
        };
        match pauses.next() {
            Some(pause) => {
                debug!(%address, trouble, "the webhook is tried again");
                sleep(*pause).await;
            }
            None => return warn!(%address, trouble, "the webhook was not told"),
        }
    }
}

async fn post(address: &Uri, notice: Bytes) -> io::Result<StatusCode> {
    let host = address.host().unwrap_or_default();
    // As sockets want an IPv6 address: without the brackets of addresses in texts.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((name, port(address))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let path = address.path_and_query().map_or("/", |path| path.as_str());
    let authority = address.authority().map_or(host, |authority| authority.as_str());
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, crate::SOFTWARE)
        .body(Full::new(notice))
        .map_err(io::Error::other)?;
    let answered = sender.send_request(request).await.map(|answer| answer.status());
    // Whatever else it would answer is of no use.
    connection.abort();
    answered.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with the next of these statuses, and returns the last request.
    async fn answer(listener: TcpListener, statuses: &[&str]) -> String {
        let mut request = String::new();
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut octets = Vec::new();
            while !octets.ends_with(b"}") {
                let mut some = [0; 1024];
                let len = stream.read(&mut some).await.unwrap();
                octets.extend(&some[..len]);
            }
            request = String::from_utf8(octets).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        request
    }

    #[tokio::test]
    async fn a_webhook_is_told_again_until_it_takes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let uri: Uri = format!("http://{address}/tell?line=berlin").parse().unwrap();
        let pauses = [Duration::ZERO; 4];
        let told = tell(&uri, Bytes::from_static(b"{\"event\":\"failed\"}"), &pauses);
        let answered = answer(listener, &["500 Oh", "404 No", "204 Yes"]);
        let ((), request) = tokio::join!(told, answered);
        assert!(request.starts_with("POST /tell?line=berlin HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
        assert!(request.contains("content-type: application/json\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"event\":\"failed\"}"), "{request}");
    }

    #[tokio::test]
    async fn a_webhook_that_is_not_there_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        tell(&uri, Bytes::new(), &[Duration::ZERO; 4]).await;
    }

    #[test]
    fn an_address_without_a_port_has_that_of_http() {
        for (address, expected) in [("http://a/", 80), ("http://a:8080/x", 8080), ("http://[::1]:81", 81)] {
            assert_eq!(port(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
