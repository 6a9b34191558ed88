//! Mail to an SMTP server (RFC 5321), one transaction a receiver over one connection.
//!
//! The commands are given one by one, so that the connection outlives a refused receiver and the
//! words of a failure can say at which of them it happened.

use std::fmt;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};

use super::failure::{Failure, excerpt};

/// How long one of the server's addresses may take to accept the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How the connection is encrypted.
pub(super) enum Security {
    /// Not at all.
    None,
    /// By STARTTLS (RFC 3207), without which nothing is sent.
    StartTls(TlsParameters),
    /// From its first byte (RFC 8314).
    Tls(TlsParameters),
}

/// Where mails are handed in.
pub(super) struct SmtpServer {
    /// A hostname or an IP address.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// How the connection is encrypted.
    pub(super) security: Security,
    /// Who we are, if the server wants to know.
    pub(super) credentials: Option<Credentials>,
    /// What EHLO says.
    pub(super) hello: ClientId,
}

/// A connection over which mails can be sent.
pub(super) struct Session(AsyncSmtpConnection);

impl fmt::Display for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let security = match self.security {
            Security::None => "unencrypted",
            Security::StartTls(_) => "STARTTLS",
            Security::Tls(_) => "TLS",
        };
        let user = match self.credentials {
            None => "without authentication",
            Some(_) => "authenticated",
        };
        write!(f, "SMTP at {}:{}, {security}, {user}", self.host, self.port)
    }
}

impl SmtpServer {
    /// Connects, encrypts and authenticates. The error is for the operator. Without a deadline of
    /// its own but for the connecting.
    pub(super) async fn open(&self) -> Result<Session, String> {
        let place = format!("{}:{}", self.host, self.port);
        let from_start = match &self.security {
            Security::Tls(parameters) => Some(parameters.clone()),
            Security::None | Security::StartTls(_) => None,
        };
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            (self.host.as_str(), self.port),
            Some(CONNECT_TIMEOUT),
            &self.hello,
            from_start,
            None,
        )
        .await
        .map_err(|error| format!("{place}: {}", words(&error)))?;
        if let Security::StartTls(parameters) = &self.security {
            connection
                .starttls(parameters.clone(), &self.hello)
                .await
                .map_err(|error| format!("{place}: STARTTLS: {}", words(&error)))?;
        }
        if let Some(credentials) = &self.credentials {
            let refused = connection.auth(DEFAULT_MECHANISMS, credentials).await.err();
            if let Some(error) = refused {
                return Err(format!("{place}: {}", auth_words(&error)));
            }
        }
        Ok(Session(connection))
    }
}

impl Session {
    /// Sends one message to one receiver.
    pub(super) async fn post(
        &mut self,
        from: &Address,
        to: &Address,
        message: &[u8],
    ) -> Result<(), Failure> {
        let mut parameters = Vec::new();
        if [from, to].iter().any(|address| !is_ascii(address)) || !message.is_ascii() {
            // RFC 6531. Everything else in a message of ours is encoded.
            if !self
                .0
                .server_info()
                .supports_feature(Extension::SmtpUtfEight)
            {
                let why = "the server takes no addresses beyond ASCII (SMTPUTF8)";
                return Err(Failure::Refused(why.to_owned()));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let result = self.transaction(from, to, message, parameters).await;
        if let Err(Failure::Refused(_) | Failure::Later(_)) = result {
            // A connection that is lost meanwhile shows at the next mail.
            let _ = self.0.command(Rset).await;
        }
        result
    }

    async fn transaction(
        &mut self,
        from: &Address,
        to: &Address,
        message: &[u8],
        parameters: Vec<MailParameter>,
    ) -> Result<(), Failure> {
        let failed = |step: &'static str| move |error| failure(step, &error);
        let mail = Mail::new(Some(from.clone()), parameters);
        self.0.command(mail).await.map_err(failed("MAIL FROM"))?;
        let rcpt = Rcpt::new(to.clone(), Vec::new());
        self.0.command(rcpt).await.map_err(failed("RCPT TO"))?;
        self.0.command(Data).await.map_err(failed("DATA"))?;
        // The line end before the last dot is the message's own (RFC 5321 section 4.1.1.4), and
        // is written with the dot.
        let taken = self
            .0
            .message(message.strip_suffix(b"\r\n").unwrap_or(message));
        let taken = taken.await;
        taken.map_err(failed("the message"))?;
        Ok(())
    }

    /// Asks the server whether it is still there.
    pub(super) async fn is_alive(&mut self) -> Result<(), String> {
        let answer = self.0.command(Noop).await;
        answer.map(|_| ()).map_err(|error| words(&error))
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self) {
        self.0.abort().await;
    }
}

fn is_ascii(address: &Address) -> bool {
    address.user().is_ascii() && address.domain().is_ascii()
}

fn failure(step: &str, error: &Error) -> Failure {
    let why = format!("{step}: {}", words(error));
    match error.status().map(u16::from) {
        // 421: it closes the connection. The others: it wants other credentials, or any (RFC 4954).
        Some(421 | 530 | 534 | 535 | 538) => Failure::Down(why),
        Some(500..600) => Failure::Refused(why),
        Some(_) => Failure::Later(why),
        None => Failure::Down(why),
    }
}

/// What a server said, or what happened to the connection.
fn words(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = excerpt(&cause.to_string());
    match error.status() {
        Some(code) => format!("{code} {text}"),
        None => text,
    }
}

/// Why the server did not let us in. Its own words are left out: they may repeat what it was sent.
fn auth_words(error: &Error) -> String {
    match error.status() {
        Some(code) if error.is_permanent() => {
            format!("it refuses the user name or the password ({code})")
        }
        Some(code) => format!("it cannot check the password now ({code})"),
        None if error.is_client() => {
            "it offers no authentication that is known here (PLAIN, LOGIN)".to_owned()
        }
        None => format!("authentication: {}", words(error)),
    }
}
