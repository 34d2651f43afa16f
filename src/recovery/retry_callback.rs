//! The thread that calls the user's retry callback.

use std::{
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crossbeam_channel::{Sender, bounded};

use super::Retry;
use crate::{
    closure::{CallbackResult, call_safely, result_of},
    message::CallbackFailed,
    process::{self, Home},
};

/// The user's closure, on its own thread because it may take a long time. The thread ends when this is
/// dropped.
pub(crate) struct RetryCallback {
    questions: Sender<Question>,
    busy: Arc<AtomicBool>,
}

struct Question {
    retry: Retry,
    answer: Answer,
}

type Answer = Box<dyn FnOnce(Result<Retry, CallbackFailed>) + Send>;

impl RetryCallback {
    /// Starts the thread.
    pub(crate) fn start<F, R>(mut callback: F) -> io::Result<Self>
    where
        F: FnMut(&mut Retry) -> R + Send + 'static,
        R: CallbackResult,
    {
        let (sender, questions) = bounded::<Question>(1);
        let busy = Arc::new(AtomicBool::new(false));
        let started = Self {
            questions: sender,
            busy: Arc::clone(&busy),
        };
        let home = Home::here();
        process::start_thread("ttn-retry", move || {
            while let Ok(Question { mut retry, answer }) = questions.recv() {
                let called = call_safely("retry", None, || result_of(callback(&mut retry)));
                if !home.is_here() {
                    // The closure has forked, and this is the child: nobody waits for the answer here. The session
                    // may have held a lock of the channel, which dropping it takes.
                    return mem::forget(questions);
                }
                busy.store(false, Ordering::Release);
                answer(called.map(|()| retry));
            }
        })?;
        Ok(started)
    }

    /// Asks the closure. Returns `false` if it is still busy with an earlier question. `answer` gets the
    /// changed retry, or an error if the closure failed, in which case the plan is unchanged.
    pub(crate) fn ask(
        &self,
        retry: Retry,
        answer: impl FnOnce(Result<Retry, CallbackFailed>) + Send + 'static,
    ) -> bool {
        let question = Question {
            retry,
            answer: Box::new(answer),
        };
        !self.busy.swap(true, Ordering::AcqRel) && self.questions.send(question).is_ok()
    }
}
