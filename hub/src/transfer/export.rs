//! Writes an export.

use std::io::Write;

use serde::Serialize;
use thiserror::Error;

use super::line::{Counts, FORMAT, Header, Line, VERSION};
use crate::registry::KEY_FINGERPRINT;
use crate::store::{Snapshot, Store, StoreError};

/// How many rows are read at once.
const PAGE: i64 = 1000;

/// Why an export ended early.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output takes no more.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

/// Writes everything that is stored as of one moment, beside whoever writes. Tokens and
/// update keys go, if they are wanted, as hashes and sealed keys: nothing in an export is a credential.
pub async fn export(
    store: &Store,
    tokens: bool,
    output: &mut (impl Write + Send),
) -> Result<Counts, ExportError> {
    let mut snapshot = store.snapshot().await?;
    let mut counts = Counts::default();
    let key = match tokens {
        true => snapshot.fact(KEY_FINGERPRINT).await?,
        false => None,
    };
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        key,
    };
    // Without a key that is known there are no tokens and update keys either.
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
        counts.tokens = write_tokens(&mut snapshot, output).await?;
        counts.update_keys = write_update_keys(&mut snapshot, output).await?;
    }
    write(output, &Line::End(counts))?;
    output.flush()?;
    Ok(counts)
}

async fn write_tokens(
    snapshot: &mut Snapshot,
    output: &mut impl Write,
) -> Result<u64, ExportError> {
    let (mut count, mut after) = (0, String::new());
    loop {
        let page = snapshot.tokens(&after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(count);
        };
        after = last.token.id.to_string();
        for token in page {
            write(output, &Line::Token(token.into()))?;
            count += 1;
        }
    }
}

async fn write_update_keys(
    snapshot: &mut Snapshot,
    output: &mut impl Write,
) -> Result<u64, ExportError> {
    let (mut count, mut after) = (0, String::new());
    loop {
        let page = snapshot.update_keys(&after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(count);
        };
        after = last.key.id.to_string();
        for key in page {
            write(output, &Line::UpdateKey(key.into()))?;
            count += 1;
        }
    }
}

fn write(output: &mut impl Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *output, line)?;
    output.write_all(b"\n")
}
