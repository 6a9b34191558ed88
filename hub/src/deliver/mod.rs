//! Tells others of committed changes: DNS servers, DDNS providers, Plesk, mailboxes, webhooks.

pub mod dyndns2;
pub mod email;
pub mod plesk;
pub mod rfc2136;
pub mod settings;
pub mod sink;
pub mod webhook;
