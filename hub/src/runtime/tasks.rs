//! The hub's background tasks, each with a name. None ends by itself: if one does, the hub must not continue as if it
//! still ran.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinSet};

/// Tasks by name. Dropping it aborts them all.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts a task.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.running.spawn(task);
        self.names.insert(task.id(), name);
    }

    /// Waits until one of them ends, by a panic or otherwise; returns its name.
    pub(crate) async fn ended(&mut self) -> &'static str {
        let id = match self.running.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => std::future::pending().await,
        };
        self.names.get(&id).copied().unwrap_or("unnamed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("endless", std::future::pending());
        tasks.spawn("ends", async {});
        assert_eq!(tasks.ended().await, "ends");
        tasks.spawn("panics", async { panic!("a bug") });
        assert_eq!(tasks.ended().await, "panics");
    }
}
