//! The JSON of `/invitations/{id}` and below it. Texts are as they are sent; what an agent prints of them it checks first.

use serde::{Deserialize, Serialize};

/// Whether an invitation can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(example = "open")
)]
pub enum InvitationState {
    /// No machine has redeemed it.
    Open,
    /// A machine has redeemed it and not confirmed yet.
    Pending,
    /// It has made its token.
    Used,
    /// It was revoked, or ended with a restore, an import or a new key of the hub.
    Revoked,
    /// It was not used in time.
    Expired,
}

impl InvitationState {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Pending => "pending",
            Self::Used => "used",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// `GET /invitations/{id}`, signed with the invitation's key: what it grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvitationGrant {
    /// The id of the invitation.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::credential::TokenId))]
    pub id: String,
    /// `open` or `pending`.
    pub state: InvitationState,
    /// The name that the token will have.
    #[cfg_attr(feature = "openapi", schema(example = "nas"))]
    pub name: String,
    /// `read` or `write`.
    #[cfg_attr(feature = "openapi", schema(example = "write"))]
    pub role: String,
    /// The silos that the token will be for.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::silo::SiloId>))]
    pub silos: Vec<String>,
    /// The hostnames that the token may write; left out if it only reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = Option<Vec<crate::silo::Hostname>>, nullable = false)
    )]
    pub hostnames: Option<Vec<String>>,
    /// Until when the invitation can be used (RFC 3339, UTC, milliseconds).
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Time))]
    pub expires_at: String,
    /// When the token will expire; left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = Option<crate::openapi::Time>, nullable = false)
    )]
    pub token_expires_at: Option<String>,
}

/// The body of `POST /invitations/{id}/redeem`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedeemRequest {
    /// The machine's public key of X25519, in base64url.
    pub public_key: String,
}

/// The answer to [`RedeemRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Redeemed {
    /// The id that the token will have.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::credential::TokenId))]
    pub token_id: String,
    /// The hub's public key of X25519, in base64url.
    #[cfg_attr(
        feature = "openapi",
        schema(
            pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
            example = "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"
        )
    )]
    pub public_key: String,
    /// `read` or `write`.
    #[cfg_attr(feature = "openapi", schema(example = "write"))]
    pub role: String,
    /// The silos that the token will be for.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::silo::SiloId>))]
    pub silos: Vec<String>,
    /// The hostnames that the token may write; left out if it only reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = Option<Vec<crate::silo::Hostname>>, nullable = false)
    )]
    pub hostnames: Option<Vec<String>>,
}

/// The body of `POST /invitations/{id}/confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmRequest {
    /// The id from [`Redeemed`].
    pub token_id: String,
    /// The [`Proof`](super::Proof) that the sender has the token's credential.
    pub proof: String,
}

/// The answer to [`ConfirmRequest`]: the token is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Confirmed {
    /// The id of the token.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::credential::TokenId))]
    pub token_id: String,
    /// When the token expires; left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = Option<crate::openapi::Time>, nullable = false)
    )]
    pub expires_at: Option<String>,
}
