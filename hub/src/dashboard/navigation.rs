//! The navigation: which pages there are, and who sees which.

use super::layout::{Section, SignedIn};

impl Section {
    /// What the session may see, in the order of the navigation.
    const ALL: [Self; 6] = [
        Self::Silos,
        Self::Agents,
        Self::Deliveries,
        Self::Tokens,
        Self::Audit,
        Self::System,
    ];

    /// Where it begins.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::None | Self::Silos => "/dashboard/",
            Self::Agents => "/dashboard/agents",
            Self::Deliveries => "/dashboard/deliveries",
            Self::Tokens => "/dashboard/tokens",
            Self::Audit => "/dashboard/audit",
            Self::System => "/dashboard/system",
        }
    }

    /// Its name on pages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Silos => "Silos",
            Self::Agents => "Agents",
            Self::Deliveries => "Deliveries",
            Self::Tokens => "Tokens",
            Self::Audit => "Audit",
            Self::System => "System",
        }
    }

    /// Whether it is for admins alone.
    fn needs_admin(self) -> bool {
        match self {
            // A token that is no admin's sees itself there.
            Self::None | Self::Silos | Self::Agents | Self::Tokens => false,
            Self::Deliveries | Self::Audit | Self::System => true,
        }
    }
}

impl SignedIn {
    /// The sections that the session may see.
    pub(super) fn sections(&self) -> impl Iterator<Item = Section> {
        let all = Section::ALL.into_iter();
        all.filter(|section| self.is_admin || !section.needs_admin())
    }
}
