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

use super::failure::{Failure, excerpt};

/// Connect timeout for each of the server's addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// Sends one message to one receiver.
    pub(super) async fn post(
        &mut self,
        from: &Address,
        to: &Address,
        message: &[u8],
    ) -> Result<(), Failure> {
        let mut parameters = Vec::new();
        if [from, to].iter().any(|address| !is_ascii(address)) || !message.is_ascii() {
            // RFC 6531. Everything else in our messages is encoded.
            if !self
                .0
                .server_info()
                .supports_feature(Extension::SmtpUtfEight)
            {
                let why = "the server does not support non-ASCII addresses (SMTPUTF8)";
                return Err(Failure::Refused(why.to_owned()));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let result = self.transaction(from, to, message, parameters).await;
        if let Err(Failure::Refused(_) | Failure::Later(_)) = result {
            // A connection lost here is noticed at the next mail.
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
        // The line end before the final dot belongs to the message (RFC 5321 section 4.1.1.4), and
        // is written with the dot.
        let taken = self
            .0
            .message(message.strip_suffix(b"\r\n").unwrap_or(message));
        let taken = taken.await;
        taken.map_err(failed("the message"))?;
        Ok(())
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
        // 421: the server closes the connection. The others: the credentials are wrong or missing
        // (RFC 4954).
        Some(421 | 530 | 534 | 535 | 538) => Failure::Down(why),
        Some(500..600) => Failure::Refused(why),
        Some(_) => Failure::Later(why),
        None => Failure::Down(why),
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
