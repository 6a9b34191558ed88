//! Counts requests by method, route and status, and how long their responses took; logs each at debug level. Never the
//! path, which anyone can make up and which may contain a secret: labels of metrics must stay few.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, Method, StatusCode};
use axum::response::Response;
use pin_project_lite::pin_project;
use tower::Service;

use super::site;
use crate::domain::counting::{IS_COUNTED, Observed, Table, Timings};

/// The route of requests that no route matches.
const NO_ROUTE: &str = "none";
/// The route that most requests go to.
pub(super) const READ_SILO: &str = "/silos/{id}";
/// Requests with this header may wait for a change (RFC 7240): how long they take says nothing about the hub.
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The labels of methods; the last one is for all others.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "other",
];
/// The labels of statuses: those that this hub sends.
const STATUSES: [u16; 25] = [
    200, 201, 202, 204, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413,
    415, 422, 428, 429, 500, 503,
];
/// After them: any other status, and requests whose client left before the response.
const OTHER_STATUS: usize = STATUSES.len();
const CANCELED: usize = STATUSES.len() + 1;
const OF_METHOD: usize = STATUSES.len() + 2;

/// Counts the requests of one route.
#[derive(Debug, Default)]
struct RouteStats {
    counts: Table<{ METHODS.len() * OF_METHOD }>,
    took: Timings,
}

/// Counts requests.
#[derive(Clone, Debug)]
pub struct Requests {
    routes: Arc<RwLock<HashMap<Box<str>, Arc<Route>>>>,
    read_silo: Arc<Route>,
}

#[derive(Debug)]
struct Route {
    name: Box<str>,
    stats: RouteStats,
}

/// How many requests had a method, route and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestCount {
    pub(super) method: &'static str,
    pub(super) route: String,
    /// A number, `other` or `canceled`.
    pub(super) status: String,
    pub(super) requests: u64,
}

impl Default for Requests {
    fn default() -> Self {
        let read_silo = route(READ_SILO);
        let routes = HashMap::from([(READ_SILO.into(), Arc::clone(&read_silo))]);
        Self {
            routes: Arc::new(RwLock::new(routes)),
            read_silo,
        }
    }
}

fn route(name: &str) -> Arc<Route> {
    Arc::new(Route {
        name: name.into(),
        stats: RouteStats::default(),
    })
}

impl Requests {
    /// The counters of a route. Its name is that of the router's table: their number is limited.
    fn of(&self, name: &str) -> Arc<Route> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = routes.get(name) {
            return Arc::clone(known);
        }
        drop(routes);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let known = routes.entry(name.into()).or_insert_with(|| route(name));
        Arc::clone(known)
    }

    /// Begins a request that the router has matched.
    fn begin(&self, request: &Request) -> Running {
        let route = match request.extensions().get::<MatchedPath>() {
            Some(path) if path.as_str() == READ_SILO => Arc::clone(&self.read_silo),
            Some(path) if site::is_page(path.as_str()) => self.of(site::PAGES),
            Some(path) => self.of(path.as_str()),
            None => self.of(NO_ROUTE),
        };
        Running::begin(route, request)
    }

    /// Begins a read of a silo that goes past the router.
    pub(super) fn begin_read(&self, request: &Request) -> Running {
        Running::begin(Arc::clone(&self.read_silo), request)
    }

    /// All counts that are not zero, by route.
    pub(super) fn counts(&self) -> Vec<RequestCount> {
        let mut counts = Vec::new();
        for route in self.sorted() {
            for (index, requests) in route.stats.counts.sums().into_iter().enumerate() {
                if requests > 0 {
                    counts.push(RequestCount {
                        method: METHODS[index / OF_METHOD],
                        route: route.name.to_string(),
                        status: status_label(index % OF_METHOD),
                        requests,
                    });
                }
            }
        }
        counts
    }

    /// How long responses took, by route.
    pub(super) fn timings(&self) -> Vec<(String, Observed)> {
        let routes = self.sorted().into_iter();
        routes
            .map(|route| (route.name.to_string(), route.stats.took.observed()))
            .filter(|(_, took)| took.count() > 0)
            .collect()
    }

    fn sorted(&self) -> Vec<Arc<Route>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let mut routes: Vec<_> = routes.values().cloned().collect();
        routes.sort_by(|a, b| a.name.cmp(&b.name));
        routes
    }
}

fn status_label(index: usize) -> String {
    match STATUSES.get(index) {
        Some(status) => status.to_string(),
        None if index == CANCELED => "canceled".to_owned(),
        None => "other".to_owned(),
    }
}

fn method_index(method: &Method) -> usize {
    let known = METHODS.iter().position(|known| *known == method.as_str());
    known.unwrap_or(METHODS.len() - 1)
}

fn status_index(status: StatusCode) -> usize {
    let known = STATUSES.iter().position(|known| *known == status.as_u16());
    known.unwrap_or(OTHER_STATUS)
}

/// A request from its beginning to its response. Dropped without one: its client has left.
#[derive(Debug)]
pub(super) struct Running {
    route: Arc<Route>,
    method: usize,
    /// `None` if nothing is counted.
    began: Option<Instant>,
    may_wait: bool,
    is_over: bool,
    /// Whether the handler is running just now. It is still set in the drop after a panic.
    is_polled: bool,
}

impl Running {
    fn begin(route: Arc<Route>, request: &Request) -> Self {
        let method = method_index(request.method());
        tracing::trace!(
            target: "silo_hub::http",
            method = METHODS[method],
            route = &*route.name,
            "request begins"
        );
        Self {
            route,
            method,
            began: IS_COUNTED.then(Instant::now),
            may_wait: request.headers().contains_key(&PREFER),
            is_over: false,
            is_polled: false,
        }
    }

    fn end(&mut self, status: usize) {
        self.is_over = true;
        let Route { name, stats } = &*self.route;
        stats.counts.add_one(self.method * OF_METHOD + status);
        let took = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        if !self.may_wait && status != CANCELED {
            stats.took.note(took);
        }
        tracing::debug!(
            target: "silo_hub::http",
            method = METHODS[self.method],
            route = &**name,
            status = status_label(status),
            ms = took.as_secs_f64() * 1000.0,
            "request"
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            // A panic is answered 500, outside of this.
            let status = if self.is_polled {
                status_index(StatusCode::INTERNAL_SERVER_ERROR)
            } else {
                CANCELED
            };
            self.end(status);
        }
    }
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub(super) struct Observe<S> {
    pub(super) inner: S,
    pub(super) requests: Requests,
}

impl<S> Service<Request> for Observe<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Observing<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut running = self.requests.begin(&request);
        running.is_polled = true;
        let inner = self.inner.call(request);
        running.is_polled = false;
        Observing { inner, running }
    }
}

pin_project! {
    /// The future of a response that is counted.
    pub struct Observing<F> {
        #[pin]
        inner: F,
        running: Running,
    }
}

impl<F> Observing<F> {
    pub(super) fn new(inner: F, running: Running) -> Self {
        Self { inner, running }
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Observing<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.running.is_polled = true;
        let polled = this.inner.poll(context);
        this.running.is_polled = false;
        let Ok(response) = ready!(polled);
        this.running.end(status_index(response.status()));
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::{ServiceExt, layer::layer_fn};

    use super::*;

    #[tokio::test]
    async fn labels_are_those_of_the_table_whatever_is_requested() {
        let requests = Requests::default();
        let of = requests.clone();
        let mut router: Router = Router::new()
            .route("/silos/{id}", get(async || ()))
            .route("/tokens", get(async || StatusCode::IM_A_TEAPOT))
            .fallback(async || StatusCode::NOT_FOUND)
            .layer(layer_fn(move |inner| Observe {
                inner,
                requests: of.clone(),
            }));
        for number in 0..50 {
            for (method, path) in [
                ("GET", format!("/silos/s{number}")),
                ("GET", format!("/tokens?n={number}")),
                ("GET", format!("/nothing/{number}")),
                (&*format!("M{number}"), format!("/x{number}")),
                ("DELETE", "/silos/office".to_owned()),
            ] {
                let request = Request::builder().method(method).uri(path);
                let request = request.body(Body::empty()).unwrap();
                let answer = router.as_service().oneshot(request).await;
                answer.unwrap();
            }
        }
        let counts: Vec<_> = requests.counts();
        let counts: Vec<_> = counts
            .iter()
            .map(|count| {
                let RequestCount { method, route, .. } = count;
                (
                    *method,
                    route.as_str(),
                    count.status.as_str(),
                    count.requests,
                )
            })
            .collect();
        assert_eq!(
            counts,
            [
                ("GET", "/silos/{id}", "200", 50),
                ("DELETE", "/silos/{id}", "405", 50),
                ("GET", "/tokens", "other", 50),
                ("GET", "none", "404", 50),
                ("other", "none", "404", 50),
            ]
        );
        let timed: Vec<_> = requests.timings();
        let timed: Vec<_> = timed
            .iter()
            .map(|(route, took)| (route.as_str(), took.count()))
            .collect();
        assert_eq!(
            timed,
            [("/silos/{id}", 100), ("/tokens", 50), ("none", 100)]
        );
    }

    #[tokio::test]
    async fn waits_clients_that_leave_and_panics_are_counted_apart() {
        let requests = Requests::default();
        let request = |path: &str| {
            let request = Request::builder().uri(path).header("prefer", "wait=9");
            request.body(Body::empty()).unwrap()
        };
        let never = requests.begin_read(&request("/silos/a"));
        drop(Observing::new(std::future::pending::<()>(), never));
        let answers = std::future::ready(Ok(Response::new(Body::empty())));
        let waited = requests.begin_read(&request("/silos/a"));
        Observing::new(answers, waited).await.unwrap();
        let panics = requests.begin_read(&request("/silos/a"));
        let panics = Observing::new(async { panic!("a bug") }, panics);
        tokio::spawn(panics).await.unwrap_err();
        let counts = requests.counts();
        let counts: Vec<_> = counts.iter().map(|count| count.status.as_str()).collect();
        assert_eq!(counts, ["200", "500", "canceled"]);
        // All three may have waited.
        assert_eq!(requests.timings(), []);
    }

    #[test]
    fn each_status_that_this_hub_answers_has_a_label() {
        for kind in super::super::problems::ALL {
            assert_ne!(status_index(kind.status), OTHER_STATUS, "{}", kind.slug);
        }
    }
}
