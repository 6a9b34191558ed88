//! What an installation consists of, as a value: it can be printed and compared before anything is touched.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything that makes an agent run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What runs the agent.
    pub(crate) manager: Manager,
    /// What is written.
    pub(crate) items: Vec<Item>,
    /// The systemd unit to start, which the items enable.
    pub(crate) unit: Option<String>,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
}

/// What runs the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Manager {
    /// systemd's manager of the system.
    System,
    /// systemd's manager of one user.
    User,
    /// cron.
    Cron,
    /// Task Scheduler (Windows).
    TaskScheduler,
}

/// One thing that is written. Its contents are not secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Item {
    /// A file that all can read and only its owner can write.
    File {
        /// Its absolute path.
        path: PathBuf,
        /// Its bytes.
        contents: String,
    },
    /// A symbolic link.
    Link {
        /// Its absolute path.
        path: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
    /// A task of Task Scheduler.
    Task {
        /// Its path in the task library.
        name: String,
        /// Its definition.
        contents: String,
    },
}

impl Item {
    /// What tells two items apart.
    pub(super) fn key(&self) -> &Path {
        match self {
            Self::File { path, .. } | Self::Link { path, .. } => path,
            Self::Task { name, .. } => Path::new(name),
        }
    }

    /// The text to compare and to show: the contents, or where a link points.
    pub(super) fn text(&self) -> String {
        match self {
            Self::File { contents, .. } | Self::Task { contents, .. } => contents.clone(),
            Self::Link { target, .. } => link_text(target),
        }
    }
}

/// A link as a line of text.
pub(super) fn link_text(target: &Path) -> String {
    format!("link to {}\n", target.display())
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Link { path, target } => write!(f, "{} -> {}", path.display(), target.display()),
            Self::Task { name, .. } => write!(f, "task {name}"),
        }
    }
}

impl fmt::Display for Plan {
    /// Each item with its contents, as `--dry-run` prints it. A single file is printed alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [Item::Task { contents, .. }] = &self.items[..] {
            return f.write_str(contents);
        }
        for (number, item) in self.items.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            writeln!(f, "# {item}")?;
            if let Item::File { contents, .. } | Item::Task { contents, .. } = item {
                f.write_str(contents)?;
            }
        }
        Ok(())
    }
}
