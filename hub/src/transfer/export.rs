//! Writes an export.

use std::io::Write;

use serde::Serialize;
use silo_shared::credential::TokenId;
use thiserror::Error;

use super::line::{Counts, FORMAT, Header, Line, VERSION};
use crate::registry::KEY_FINGERPRINT;
use crate::store::{Queries, Snapshot, Store, StoreError};

/// Number of rows read at once.
const PAGE: i64 = 1000;

/// Why an export failed.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output can't be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

/// Writes a consistent snapshot of all stored data, concurrently with other writes. With `tokens`,
/// includes rights as hashes and in sealed form: an export contains no credentials.
pub async fn export(
    store: &Store,
    tokens: bool,
    output: &mut (impl Write + Send),
) -> Result<Counts, ExportError> {
    let mut snapshot = store.snapshot().await?;
    let mut counts = Counts::default();
    let key = if tokens {
        snapshot.fact(KEY_FINGERPRINT).await?
    } else {
        None
    };
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        key,
    };
    // Without a known key, there are no rights either.
    let tokens = header.key.is_some();
    write(output, &header)?;
    let mut after = None;
    loop {
        let page = snapshot.silos(after.as_ref(), PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (id, head) in page {
            let silo = snapshot.silo(id, head).await?;
            write(output, &Line::Silo(silo.into()))?;
            counts.silos += 1;
        }
    }
    let mut after = None;
    loop {
        let page = snapshot.history(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        for row in page {
            write(output, &Line::History(row.into()))?;
            counts.history += 1;
        }
    }
    if tokens {
        counts.tokens = Rights::Tokens.write(&mut snapshot, output).await?;
        counts.update_keys = Rights::UpdateKeys.write(&mut snapshot, output).await?;
        counts.dynahosts = Rights::Dynahosts.write(&mut snapshot, output).await?;
    }
    write(output, &Line::End(counts))?;
    output.flush()?;
    Ok(counts)
}

/// The kinds of rights, each read in pages.
#[derive(Clone, Copy, Debug)]
enum Rights {
    Tokens,
    UpdateKeys,
    Dynahosts,
}

impl Rights {
    /// A page of lines, each with the id after which the next page starts.
    async fn page(
        self,
        snapshot: &mut Snapshot,
        after: &str,
    ) -> Result<Vec<(TokenId, Line)>, StoreError> {
        Ok(match self {
            Self::Tokens => {
                let page = snapshot.tokens(after, PAGE).await?.into_iter();
                page.map(|token| (token.token.id, Line::Token(token.into())))
                    .collect()
            }
            Self::UpdateKeys => {
                let page = snapshot.update_keys(after, PAGE).await?.into_iter();
                page.map(|key| (key.key.id, Line::UpdateKey(key.into())))
                    .collect()
            }
            Self::Dynahosts => {
                let page = snapshot.dynahosts(after, PAGE).await?.into_iter();
                page.map(|host| (host.binding.id, Line::Dynahost(host.into())))
                    .collect()
            }
        })
    }

    /// Writes all lines of a kind; returns their number.
    async fn write(
        self,
        snapshot: &mut Snapshot,
        output: &mut impl Write,
    ) -> Result<u64, ExportError> {
        let (mut count, mut after) = (0, String::new());
        loop {
            let page = self.page(snapshot, &after).await?;
            let Some((last, _)) = page.last() else {
                return Ok(count);
            };
            after = last.to_string();
            for (_, line) in page {
                write(output, &line)?;
                count += 1;
            }
        }
    }
}

fn write(output: &mut impl Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *output, line)?;
    output.write_all(b"\n")
}
