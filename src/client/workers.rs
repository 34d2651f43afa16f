//! Sets of workers: each handles the uplinks of its devices, on a thread of its own.

use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, atomic::Ordering},
};

use crossbeam_channel::{Sender, bounded};

use super::{
    CallbackId, MqttClient,
    worker::{Attendance, Desk, Worker},
};
use crate::{
    closure::{CallbackResult, closure},
    error::{Error, Result},
    events::shared_subscriptions,
    message::{Event, UplinkMessage},
    process::{self, Home},
    session::Command,
    stats::WorkerStats,
    sync,
};

/// The most workers of a set.
const MAX_WORKERS: usize = 256;

/// The sets of workers of a client.
#[derive(Default)]
pub(super) struct Workers(Mutex<Vec<Set>>);

struct Set {
    id: CallbackId,
    desks: Vec<Arc<Desk>>,
    /// Its workers end when this is dropped.
    stop: Sender<Infallible>,
}

impl Workers {
    /// Returns what each worker has done. In a fork, nothing if a thread of the parent was just changing the list.
    pub(super) fn stats(&self, home: Home) -> Vec<WorkerStats> {
        let sets = home.lock(&self.0);
        let sets = sets.as_deref().map_or(&[][..], Vec::as_slice);
        let desks = sets.iter().flat_map(|set| &set.desks);
        desks.map(|desk| desk.stats()).collect()
    }

    fn add(&self, set: Set) {
        sync::lock(&self.0).push(set);
    }

    /// Removes a set. Returns whether it was there.
    pub(super) fn remove(&self, id: CallbackId) -> bool {
        let mut sets = sync::lock(&self.0);
        let Some(index) = sets.iter().position(|set| set.id == id) else {
            return false;
        };
        let Set { desks, stop, .. } = sets.remove(index);
        drop(sets);
        drop(stop);
        desks.iter().for_each(|desk| desk.leave());
        true
    }
}

impl MqttClient {
    /// Sets several workers for uplinks: those of different devices are handled side by side, and those of one
    /// device in order, by the same worker. For a handler that takes long, because it waits for a database or for
    /// another server.
    ///
    /// `make` runs on the calling thread, once for each worker, and gets its number, from 0. The closure that it
    /// returns may keep state of its own, such as a connection to the database. It runs on the thread
    /// `ttn-worker-N`, one uplink at a time, and gets what an
    /// [uplink callback](Self::set_uplink_callback) gets. As there, it may call any method of the client, and an
    /// error or a panic is logged and reported as [`Event::CallbackFailed`](crate::Event::CallbackFailed), with
    /// the number of the [worker](crate::CallbackFailed::worker), which then goes on.
    ///
    /// Every set gets every uplink; in a set, each uplink goes to one worker, and which one depends on the id of
    /// its device. What a [backfill](crate::MqttClientBuilder::backfill) brings goes to the device's worker too:
    /// such uplinks may be older than live ones before them. Callbacks are not affected: they still get all uplinks, in
    /// order over all devices. Normalized uplinks come with [`events`](Self::events) only.
    ///
    /// Each worker has a queue of its own, with the [capacity](crate::MqttClientBuilder::event_capacity) and the
    /// [overflow](crate::MqttClientBuilder::overflow) of the client. A worker that is slow or stuck delays its own devices
    /// only, except with [`Overflow::Block`](crate::Overflow::Block): the client then waits for it when its queue is
    /// full. [`Stats::workers`](crate::Stats::workers) counts what each has handled and dropped, and what is waiting.
    ///
    /// [`close`](Self::close) waits until the workers have handled what came before the end, and gives up after its
    /// timeout; the workers then still handle the rest. Close callbacks do not wait for workers. After
    /// `close` and `connect` the workers go on.
    ///
    /// [`remove_callback`](Self::remove_callback) removes the set: each worker ends after its current uplink, and
    /// what waits in its queue is discarded.
    ///
    /// An uplink's [`watermark`](UplinkMessage::watermark) is that of the set: an uplink that another worker has
    /// not handled yet holds it back. So each worker may store it, and it does not matter which one stores last.
    ///
    /// # Errors
    ///
    /// Nothing is set then.
    ///
    /// - [`ErrorKind::Config`](crate::ErrorKind::Config) if there are no workers, or more than 256
    /// - [`ErrorKind::ResourcesExhausted`](crate::ErrorKind::ResourcesExhausted) if a thread cannot be started
    /// - [`ErrorKind::Forked`](crate::ErrorKind::Forked) in a fork of the process
    /// - [`ErrorKind::Closed`](crate::ErrorKind::Closed) if the last handle of the client was dropped
    ///
    /// ```
    /// # use std::sync::mpsc;
    /// use ttn::{MqttClient, UplinkMessage};
    /// # use ttn::{Network, simulator::Simulator};
    /// # struct Database;
    /// # impl Database {
    /// #     fn open(_worker: usize) -> Self { Self }
    /// #     fn insert(&mut self, _dev_id: &str, _payload: &[u8]) -> ttn::anyhow::Result<()> { Ok(()) }
    /// # }
    /// # let network = Simulator::start(Network::V3)?;
    /// # let client = MqttClient::builder(network.app_id(), network.access_key())
    /// #     .mqtt_address(network.mqtt_address())
    /// #     .build()?;
    ///
    /// client.set_uplink_workers(8, |worker| {
    ///     let mut database = Database::open(worker);
    ///     move |uplink: &UplinkMessage, client: &MqttClient| {
    ///         database.insert(&uplink.dev_id, &uplink.payload_raw)?;
    ///         client.send(&uplink.dev_id, "01")?;
    ///         ttn::anyhow::Ok(())
    ///     }
    /// })?;
    /// client.connect()?;
    /// network.device("soil-probe-07").uplink(1, [0x01, 0x02]);
    /// network.device("soil-probe-08").uplink(1, [0x01, 0x02]);
    /// # let events = client.events();
    /// # let handled = || client.stats().workers.iter().map(|worker| worker.handled).sum::<u64>();
    /// # while handled() < 2 { let _ = events.recv_timeout(std::time::Duration::from_millis(10)); }
    /// client.close()?;
    /// # let stats = client.stats();
    /// # assert!(stats.workers.iter().all(|worker| worker.failed + worker.dropped == 0));
    /// # assert_eq!(stats.workers.len(), 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_uplink_workers<M, F, R>(&self, workers: usize, make: M) -> Result<CallbackId>
    where
        M: FnMut(usize) -> F,
        F: FnMut(&UplinkMessage, &MqttClient) -> R + Send + 'static,
        R: CallbackResult,
    {
        self.core().check_process()?;
        check_number(workers)?;
        let closures: Vec<F> = (0..workers).map(make).collect();
        let core = &self.handle.core;
        let options = &core.options;
        let next_number = || core.next_callback.fetch_add(1, Ordering::Relaxed);
        let id = CallbackId(next_number());
        let (stop, stopped) = bounded(0);
        let subscriptions = shared_subscriptions(workers, options.event_capacity, options.overflow);
        let mut desks = Vec::with_capacity(workers);
        let mut subscribers = Vec::with_capacity(workers);
        for (worker, (run, (subscriber, events))) in
            closures.into_iter().zip(subscriptions).enumerate()
        {
            let number = next_number();
            let is_its = move |event: &Event| match event {
                Event::Uplink(uplink) => worker_of(&uplink.dev_id, workers) == worker,
                _ => false,
            };
            let subscriber = subscriber.named(format!("worker {worker}"));
            subscribers.push((number, subscriber.only(is_its)));
            let desk = Arc::new(Desk::new(worker, &events));
            desks.push(Arc::clone(&desk));
            let worker_thread = Worker {
                handle: Arc::downgrade(&self.handle),
                closure: closure(run),
                events,
                stop: stopped.clone(),
                desk,
                attendance: Attendance {
                    core: Arc::clone(core),
                    number,
                },
            };
            // If it fails, the others end, because `stop` is dropped.
            process::start_thread(&format!("ttn-worker-{worker}"), move || worker_thread.run())
                .map_err(Error::no_thread)?;
        }
        core.workers.add(Set { id, desks, stop });
        // At once, so that no uplink comes in between.
        self.command(Command::SubscribeWorkers(subscribers))
            .inspect_err(|_| {
                core.workers.remove(id);
            })?;
        Ok(id)
    }
}

fn check_number(workers: usize) -> Result<()> {
    if (1..=MAX_WORKERS).contains(&workers) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{workers} workers cannot share the uplinks; set from 1 to {MAX_WORKERS}"
    )))
}

/// Returns the worker of a device. The hash is not that of partitions: the devices of one partition go to all
/// workers.
fn worker_of(dev_id: &str, workers: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    dev_id.hash(&mut hasher);
    (hasher.finish() % workers as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::partition_of;

    #[test]
    fn the_devices_of_one_partition_go_to_all_workers() {
        for partitions in [8, 16] {
            let mut devices = [0; 8];
            let of_partition = (0..)
                .map(|number| format!("bed-{number:03}"))
                .filter(|device| partition_of(device, partitions) == 3);
            for device in of_partition.take(800) {
                devices[worker_of(&device, 8)] += 1;
            }
            assert!(
                devices.iter().all(|count| (60..140).contains(count)),
                "{devices:?}"
            );
        }
    }
}
