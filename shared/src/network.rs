//! Networks in settings: `within` of the upstream, `policy.networks` of the downstream, `trusted_proxies` of the hub.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::config::deserialize_text;

/// A network such as `10.0.0.0/8`; a single address is a network of its own (`/32`, `/128`).
///
/// `N` is the type of a network, such as `ipnet::IpNet`; this type only defines the notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network<N>(pub N);

/// The text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a network, such as 10.0.0.0/8 or fd00::/8")]
pub struct InvalidNetwork;

impl<N: FromStr + From<IpAddr>> FromStr for Network<N> {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        match text.parse::<IpAddr>() {
            Ok(ip) => Ok(Self(ip.into())),
            Err(_) => text.parse().map(Self).map_err(|_| InvalidNetwork),
        }
    }
}

impl<'de, N: FromStr + From<IpAddr>> Deserialize<'de> for Network<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, Self::from_str)
    }
}
