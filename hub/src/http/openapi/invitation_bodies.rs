//! Schemas of the bodies of invitations and of their exchange.

use std::borrow::Cow;

use silo_shared::credential::TokenId;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::bodies::{Schemas, add};
use super::values::{GivenHostname, GivenHubUrl, GivenPublicKey, GivenSiloId, GivenTime};

/// An invitation for a machine that reports its address.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct WriteInvitationBody {
    role: WriteRole,
    /// The silo of the token. No glob.
    #[schema(min_items = 1, max_items = 1)]
    silos: Vec<GivenSiloId>,
    /// The hostnames that the token may write. No globs.
    #[schema(min_items = 1, max_items = 100)]
    hostnames: Vec<GivenHostname>,
    /// The name of the token. Left out: its first hostname.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "nas"
    )]
    name: Option<String>,
    /// For how many seconds the invitation can be used. Left out: an hour.
    #[schema(minimum = 300, maximum = 604_800)]
    expires_after: Option<u32>,
    /// When the token expires, after the invitation. Left out: never.
    token_expires_at: Option<GivenTime>,
    /// Where the machine reaches the hub, in order of precedence.
    #[schema(max_items = 8)]
    urls: Option<Vec<GivenHubUrl>>,
}

/// An invitation for a machine that reads silos.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct ReadInvitationBody {
    role: ReadRole,
    /// The silos of the token. No globs.
    #[schema(min_items = 1, max_items = 100)]
    silos: Vec<GivenSiloId>,
    /// The name of the token. Left out: its first silo.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "laptop"
    )]
    name: Option<String>,
    /// For how many seconds the invitation can be used. Left out: an hour.
    #[schema(minimum = 300, maximum = 604_800)]
    expires_after: Option<u32>,
    /// When the token expires, after the invitation. Left out: never.
    token_expires_at: Option<GivenTime>,
    /// Where the machine reaches the hub, in order of precedence.
    #[schema(max_items = 8)]
    urls: Option<Vec<GivenHubUrl>>,
}

/// The role of a token that writes.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", example = "write")]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) enum WriteRole {
    Write,
}

/// The role of a token that reads.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", example = "read")]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) enum ReadRole {
    Read,
}

/// The key of the machine that redeems an invitation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct RedeemBody {
    /// A new public key of X25519, in base64url.
    public_key: GivenPublicKey,
}

/// That the machine has its token's credential.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a schema only")]
pub(crate) struct ConfirmBody {
    token_id: TokenId,
    /// HMAC-SHA256 of `silo join confirm v1` with the signing key of the token, in base64url.
    #[schema(pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$")]
    proof: String,
}

/// An invitation to make.
pub(crate) enum InvitationBody {}

impl PartialSchema for InvitationBody {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name("WriteInvitationBody"))
            .item(Ref::from_schema_name("ReadInvitationBody"))
            .description(Some("An invitation to make."))
            .into()
    }
}

impl ToSchema for InvitationBody {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("InvitationBody")
    }

    fn schemas(schemas: &mut Schemas) {
        add::<WriteInvitationBody>(schemas);
        add::<ReadInvitationBody>(schemas);
    }
}
