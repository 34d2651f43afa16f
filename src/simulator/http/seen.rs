//! A request, as tests see it.

use super::Request;

/// A request that the HTTP server has read; [`Simulator::http_requests`](super::super::Simulator::http_requests)
/// lists them. It never contains the access key.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::Simulator;
///
/// let network = Simulator::start(Network::V3)?;
/// for request in network.http_requests() {
///     println!("{} {}", request.method, request.path);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Method, such as `GET`.
    pub method: String,
    /// Path with the query, such as `/api/v3/auth_info`.
    pub path: String,
    /// Whether it has a header `Authorization`.
    pub has_key: bool,
    /// Body; empty if there is none. What is not UTF-8 is replaced.
    pub body: String,
}

impl From<&Request> for HttpRequest {
    fn from(request: &Request) -> Self {
        Self {
            method: request.method.clone(),
            path: request.target.clone(),
            has_key: request.header("authorization").is_some(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        }
    }
}
