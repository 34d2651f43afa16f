//! The user's closures: what they may return, and how they are called.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::message::CallbackFailed;

/// What a callback may return: nothing, or any `Result`. An error is logged and reported as
/// [`Event::CallbackFailed`](crate::Event::CallbackFailed).
///
/// ```no_run
/// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// client.set_uplink_callback(|uplink, _| println!("{}", uplink.dev_id));
/// client.set_uplink_callback(|uplink, _| -> ttn::anyhow::Result<()> {
///     std::fs::write("last-uplink.bin", &uplink.payload_raw)?;
///     Ok(())
/// });
/// # Ok::<(), ttn::Error>(())
/// ```
pub trait CallbackResult: sealed::Sealed {}

impl<T: sealed::Sealed> CallbackResult for T {}

mod sealed {
    pub trait Sealed {
        fn into_result(self) -> anyhow::Result<()>;
    }

    impl Sealed for () {
        fn into_result(self) -> anyhow::Result<()> {
            Ok(())
        }
    }

    pub trait Returns {
        type Value;
    }

    impl<T> Returns for fn() -> T {
        type Value = T;
    }

    // A closure that ends with `std::process::exit` returns `!`, which stable Rust cannot name as a
    // type. The projection of `fn() -> !` is the same type. Without this impl such closures do not
    // compile.
    impl Sealed for <fn() -> ! as Returns>::Value {
        fn into_result(self) -> anyhow::Result<()> {
            self
        }
    }

    impl<T, E: Into<anyhow::Error>> Sealed for Result<T, E> {
        fn into_result(self) -> anyhow::Result<()> {
            self.map(drop).map_err(Into::into)
        }
    }
}

/// A closure that is called with `&A` and a client of type `C`.
pub(crate) type Closure<A, C> = Box<dyn FnMut(&A, &C) -> anyhow::Result<()> + Send>;

/// Turns what a closure returned into a result.
pub(crate) fn result_of(returned: impl CallbackResult) -> anyhow::Result<()> {
    returned.into_result()
}

/// Calls a closure of the user, and catches a panic. An `Err` says how it failed, and which worker's closure
/// it is, if it is one.
pub(crate) fn call_safely(
    name: &'static str,
    worker: Option<usize>,
    call: impl FnOnce() -> anyhow::Result<()>,
) -> Result<(), CallbackFailed> {
    let failed = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => CallbackFailed {
            callback: name,
            message: format!("{error:#}"),
            panicked: false,
            worker,
        },
        Err(panic) => CallbackFailed {
            callback: name,
            message: panic_message(&*panic),
            panicked: true,
            worker,
        },
    };
    match worker {
        None => log::error!("the {name} callback failed: {}", failed.message),
        Some(worker) => log::error!("{name} {worker} failed: {}", failed.message),
    }
    Err(failed)
}

/// Boxes a closure, whatever it may return.
pub(crate) fn closure<A, C, F, R>(mut callback: F) -> Closure<A, C>
where
    F: FnMut(&A, &C) -> R + Send + 'static,
    R: CallbackResult,
{
    Box::new(move |argument, client| callback(argument, client).into_result())
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    message.unwrap_or("panic").to_owned()
}
