//! Sends mail to an SMTP server (RFC 5321), one transaction per receiver over one connection.
//!
//! The commands are sent one by one, so that the connection survives a refused receiver and errors
//! can name the failed command.

use std::fmt;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};

use tokio::time::timeout;

use super::failure::{Failure, excerpt};
use super::flights::{FINAL_REPLY, unconfirmed};

/// Connect timeout for each of the server's addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for the reply to MAIL, RCPT and DATA (RFC 5321 section 4.5.3.2: 5, 5 and 2 minutes).
const REPLY: Duration = Duration::from_secs(300);
/// Time limit for the reply to RSET.
const RESET: Duration = Duration::from_secs(5);

/// How the connection is encrypted.
pub(super) enum Security {
    /// No encryption.
    None,
    /// STARTTLS (RFC 3207), required.
    StartTls(TlsParameters),
    /// Implicit TLS (RFC 8314).
    Tls(TlsParameters),
}

/// The server that accepts mails.
pub(super) struct SmtpServer {
    /// A hostname or an IP address.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// How the connection is encrypted.
    pub(super) security: Security,
    /// The login, if the server requires one.
    pub(super) credentials: Option<Credentials>,
    /// The name sent with EHLO.
    pub(super) hello: ClientId,
}

/// An open SMTP connection.
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
    /// Connects, encrypts and authenticates. The error is for the operator. Only connecting has a
    /// deadline of its own.
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
    /// Sends one message to one receiver. Whether the session can be used for the next one is
    /// returned beside the result.
    pub(super) async fn post(
        &mut self,
        from: &Address,
        to: &Address,
        message: &[u8],
    ) -> (Result<(), Failure>, bool) {
        let mut parameters = Vec::new();
        if [from, to].iter().any(|address| !is_ascii(address)) || !message.is_ascii() {
            // RFC 6531. Everything else in our messages is encoded.
            if !self
                .0
                .server_info()
                .supports_feature(Extension::SmtpUtfEight)
            {
                let why = "the server does not support non-ASCII addresses (SMTPUTF8)";
                return (Err(Failure::Refused(why.to_owned())), true);
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let result = self.transaction(from, to, message, parameters).await;
        let is_usable = match result {
            Ok(()) => true,
            Err(Failure::Refused(_) | Failure::Later(_)) => {
                let reset = timeout(RESET, self.0.command(Rset)).await;
                reset.is_ok_and(|reset| reset.is_ok())
            }
            Err(Failure::Lost(_) | Failure::Down(_) | Failure::Unconfirmed { .. }) => false,
        };
        (result, is_usable)
    }

    async fn transaction(
        &mut self,
        from: &Address,
        to: &Address,
        message: &[u8],
        parameters: Vec<MailParameter>,
    ) -> Result<(), Failure> {
        let mail = Mail::new(Some(from.clone()), parameters);
        self.step("MAIL FROM", mail).await?;
        self.step("RCPT TO", Rcpt::new(to.clone(), Vec::new()))
            .await?;
        self.step("DATA", Data).await?;
        // The line end before the final dot belongs to the message (RFC 5321 section 4.1.1.4), and
        // is written with the dot.
        let message = message.strip_suffix(b"\r\n").unwrap_or(message);
        match timeout(FINAL_REPLY, self.0.message(message)).await {
            Ok(Ok(_)) => Ok(()),
            // From here on only a reply says that the server has not accepted the message.
            Ok(Err(error)) if error.status().is_none() => {
                Err(unconfirmed(format!("the message: {}", words(&error))))
            }
            Ok(Err(error)) => Err(failure("the message", &error)),
            Err(_) => Err(unconfirmed("the message: no reply".to_owned())),
        }
    }

    async fn step(&mut self, name: &str, command: impl fmt::Display) -> Result<(), Failure> {
        match timeout(REPLY, self.0.command(command)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(name, &error)),
            Err(_) => Err(Failure::Lost(format!("{name}: no reply"))),
        }
    }

    /// Checks that the server still answers.
    pub(super) async fn is_alive(&mut self) -> Result<(), String> {
        let answer = self.0.command(Noop).await;
        answer.map(|_| ()).map_err(|error| words(&error))
    }

    /// Ends the session with QUIT.
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
        // 421: the server closes the connection.
        None | Some(421) => Failure::Lost(why),
        // The credentials are wrong or missing (RFC 4954).
        Some(530 | 534 | 535 | 538) => Failure::Down(why),
        Some(500..600) => Failure::Refused(why),
        Some(_) => Failure::Later(why),
    }
}

/// The server's reply, or the error of the connection.
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

/// Why authentication failed. Omits the server's text, which may repeat what was sent.
fn auth_words(error: &Error) -> String {
    match error.status() {
        Some(code) if error.is_permanent() => {
            format!("it refuses the user name or the password ({code})")
        }
        Some(code) => format!("it cannot check the password now ({code})"),
        None if error.is_client() => {
            "it offers no supported authentication (PLAIN, LOGIN)".to_owned()
        }
        None => format!("authentication: {}", words(error)),
    }
}
