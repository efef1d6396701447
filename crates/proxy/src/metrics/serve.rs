//! The HTTP side: one request per connection, few connections at a time, and not for long.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, oneshot};

use super::health::Health;
use super::text::Format;
use super::{collect, health};
use crate::shared::Shared;

/// Connections at a time; others wait in the kernel to be accepted.
const MOST_CONNECTIONS: usize = 32;

/// What a request, its answer, and the time between may take together.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request's head. hyper takes no less than this.
const MOST_BYTES: usize = 8192;

/// What is here, for people.
const INDEX: &str = "pgweir\n\n/metrics\tfor Prometheus\n/health\tfor load balancers: 200, or 503 with the reason\n\
                     /health?database=NAME\tof one database\n";

/// Serves until `stopped` says so.
pub(super) fn run(
    listeners: Vec<std::net::TcpListener>,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            tracing::error!("no reactor for metrics_listen: {e}");
            return;
        }
    };
    runtime.block_on(async move {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        for listener in listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    let work = accept(listener, shared.clone(), places.clone());
                    tokio::task::spawn_local(work);
                }
                Err(e) => tracing::error!("cannot register a socket of metrics_listen: {e}"),
            }
        }
        // It is never sent: its end is the end.
        let _ = stopped.await;
    });
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, places: Arc<Semaphore>) {
    // Nobody closes it.
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => {
                let shared = shared.clone();
                tokio::task::spawn_local(async move {
                    serve(socket, &shared).await;
                    drop(place);
                });
            }
            Err(e) => {
                tracing::debug!("accepting a connection to metrics_listen failed: {e}");
                drop(place);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, shared: &Shared) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(&request, shared))
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MOST_BYTES)
        // The time limit below is for all of it.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(socket), service);
    match tokio::time::timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::debug!("a request to metrics_listen failed: {e}"),
        Err(_) => tracing::debug!("a request to metrics_listen took too long"),
    }
}

fn answer<B>(request: &Request<B>, shared: &Shared) -> Response<String> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, allowed);
        return refusal;
    }
    match request.uri().path() {
        "/metrics" => {
            let accept = request.headers().get(ACCEPT);
            let accept = accept.and_then(|value| value.to_str().ok());
            let format = Format::asked_for_by(accept.unwrap_or_default());
            let mut page = Response::new(collect::page(shared, format));
            let kind = HeaderValue::from_static(format.content_type());
            page.headers_mut().insert(CONTENT_TYPE, kind);
            page
        }
        "/health" => match health::of(shared, request.uri().query().unwrap_or_default()) {
            Health::Serving => plain(StatusCode::OK, "serving\n"),
            Health::Not(why) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
            Health::Unknown(what) => plain(StatusCode::NOT_FOUND, &format!("{what}\n")),
        },
        "/" => plain(StatusCode::OK, INDEX),
        _ => plain(StatusCode::NOT_FOUND, INDEX),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<String> {
    let mut response = Response::new(text.to_owned());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::House;

    fn get(method: Method, uri: &str, accept: &str) -> Response<String> {
        let request = Request::builder().method(method).uri(uri);
        let request = request.header(ACCEPT, accept).body(()).unwrap();
        let house = House::new("");
        house.pool("shop", "app");
        answer(&request, &house.shared)
    }

    #[test]
    fn metrics_come_in_the_format_that_was_asked_for() {
        for (accept, format) in [
            ("*/*", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
        ] {
            let page = get(Method::GET, "/metrics", accept);
            assert_eq!(page.status(), StatusCode::OK);
            assert_eq!(page.headers()[CONTENT_TYPE], format.content_type());
            let expected =
                "\npgweir_pool_clients{database=\"shop\",user=\"app\",state=\"active\"} 0\n";
            assert!(page.body().contains(expected), "{}", page.body());
        }
    }

    #[test]
    fn what_is_not_here_is_not_found_and_nothing_can_be_changed() {
        for (method, uri, status) in [
            (Method::GET, "/", StatusCode::OK),
            (Method::GET, "/health", StatusCode::OK),
            (Method::GET, "/health?database=shop", StatusCode::OK),
            (Method::GET, "/metric", StatusCode::NOT_FOUND),
            (Method::GET, "/metrics/", StatusCode::NOT_FOUND),
            (Method::POST, "/metrics", StatusCode::METHOD_NOT_ALLOWED),
            (Method::DELETE, "/health", StatusCode::METHOD_NOT_ALLOWED),
        ] {
            let response = get(method.clone(), uri, "");
            assert_eq!(response.status(), status, "{method} {uri}");
        }
    }
}
