//! [`Worker`]: the thread that the scheduler runs on.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bitnet_engine::scheduler::{
    Event, Load, PrefixStore, Request, RequestId, Scheduler, SchedulerOptions,
};
use bitnet_engine::{EncodedPrompt, Engine, GenerateOptions};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;
use crate::finish;
use crate::metrics::Metrics;

/// Events of a choice that may wait for whoever reads them, before it is not continued.
const AHEAD: usize = 64;
/// How long nothing is done where all that run wait for their readers.
const PAUSE: Duration = Duration::from_millis(5);

/// How much there is room for, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most sequences that run.
    pub(crate) parallel: usize,
    /// Most sequences that wait.
    pub(crate) queue: usize,
    /// How long a choice may wait for its reader, all in all, before it is given up: it keeps its
    /// place among those that run.
    pub(crate) patience: Duration,
}

/// What one choice of a request needs.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) prompt: Arc<EncodedPrompt>,
    pub(crate) options: GenerateOptions,
    pub(crate) logprobs: Option<usize>,
    pub(crate) prompt_logprobs: Option<usize>,
}

/// What becomes of a choice.
#[derive(Debug)]
pub(crate) enum Told {
    Event(Event),
    /// It was given up, for nobody read it. Nothing follows.
    GivenUp,
}

/// What becomes of the choices of a request, each with its number. Dropping it cancels all of them.
pub(crate) type Events = Receiver<(usize, Told)>;

/// A task on its way to the thread.
struct Job {
    task: Task,
    choice: usize,
    events: Sender<(usize, Told)>,
    came: Instant,
    room: OwnedSemaphorePermit,
}

/// What the thread is asked for.
enum Order {
    Job(Box<Job>),
    /// To cancel what runs, write what it keeps where that is asked for, and end.
    End,
}

/// A task that the scheduler has, or one that has ended and not been told so.
struct Live {
    choice: usize,
    events: Sender<(usize, Told)>,
    /// What its reader has no room for yet: what one pass gave, at most.
    behind: VecDeque<Told>,
    /// How long it has waited for its reader.
    waited: Duration,
    /// Tokens of its prompt.
    prompt: usize,
    came: Instant,
    told: Option<Instant>,
    /// Its place, until it ends.
    room: Option<OwnedSemaphorePermit>,
}

impl Live {
    /// Tells its reader, or keeps it for later. One that nobody hears is cancelled before the next
    /// pass.
    fn tell(&mut self, told: Told) {
        self.behind.push_back(told);
        self.catch_up();
    }

    /// Tells what was kept, as far as there is room; whether that was all.
    fn catch_up(&mut self) -> bool {
        while let Some(told) = self.behind.pop_front() {
            match self.events.try_send((self.choice, told)) {
                Ok(()) => {}
                Err(TrySendError::Full((_, told))) => {
                    self.behind.push_front(told);
                    return false;
                }
                Err(TrySendError::Closed(_)) => {}
            }
        }
        true
    }
}

/// The thread that runs forward passes, reached through a channel that holds no more than may wait.
#[derive(Clone)]
pub(crate) struct Worker {
    orders: mpsc::Sender<Order>,
    room: Arc<Semaphore>,
    most: usize,
    queue: usize,
    load: Arc<Mutex<Load>>,
    context: usize,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Worker {
    /// Starts the thread. It ends when all handles are dropped and nothing runs any more.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(
        engine: &Engine,
        options: SchedulerOptions,
        limits: Limits,
        metrics: Arc<Metrics>,
        store: Option<PrefixStore>,
    ) -> io::Result<Worker> {
        let Limits {
            parallel, queue, ..
        } = limits;
        let most = parallel.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        let mut scheduler = Scheduler::new(engine, options.parallel(parallel));
        if let Some(store) = store {
            scheduler = scheduler.with_store(store);
        }
        // One more for the end.
        let (orders, incoming) = mpsc::channel(most.saturating_add(1).min(Semaphore::MAX_PERMITS));
        let load = Arc::new(Mutex::new(Load::default()));
        let context = scheduler.context();
        let thread = std::thread::Builder::new().name("engine".to_owned());
        let mut running = Running {
            scheduler,
            live: HashMap::new(),
            metrics,
            patience: limits.patience,
        };
        let told = Arc::clone(&load);
        let thread = thread.spawn(move || running.run(incoming, &told))?;
        Ok(Worker {
            orders,
            room: Arc::new(Semaphore::new(most)),
            most,
            queue,
            load,
            context,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Ends the thread between two passes, with all that runs, when what it keeps is written.
    pub(crate) fn end(&self) {
        let thread = self.thread.lock();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && self.orders.try_send(Order::End).is_ok()
        {
            // One that has panicked has ended too.
            let _ = thread.join();
        }
    }

    /// Most tokens of a sequence.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    /// Whether the thread still takes tasks.
    pub(crate) fn is_alive(&self) -> bool {
        !self.orders.is_closed()
    }

    /// What there is to do.
    pub(crate) fn load(&self) -> Load {
        let mut load = *self.load.lock().unwrap_or_else(PoisonError::into_inner);
        // Those on their way wait too.
        let taken = self.most - self.room.available_permits();
        // The scheduler is asked after a pass, and some have ended in it.
        load.running = load.running.min(taken);
        load.waiting = taken - load.running;
        load
    }

    /// Hands the choices of one request over, all or none.
    ///
    /// # Errors
    /// There is no room for them; the thread has ended.
    pub(crate) fn submit(&self, tasks: Vec<Task>) -> Result<Events, ApiError> {
        if tasks.len() > self.most {
            let message = format!(
                "These are {} sequences; this server takes {} at once.",
                tasks.len(),
                self.most
            );
            return Err(ApiError::field("n", message));
        }
        let rooms: Option<Vec<_>> = tasks
            .iter()
            .map(|_| Arc::clone(&self.room).try_acquire_owned().ok())
            .collect();
        let rooms = rooms.ok_or_else(|| ApiError::full(self.queue))?;
        let (events, told) = mpsc::channel(AHEAD * tasks.len().max(1));
        for ((choice, task), room) in tasks.into_iter().enumerate().zip(rooms) {
            let job = Job {
                task,
                choice,
                events: events.clone(),
                came: Instant::now(),
                room,
            };
            // There is a place in the channel for each that has room.
            let sent = self.orders.try_send(Order::Job(Box::new(job)));
            sent.map_err(|_| ApiError::internal("The engine has stopped.".to_owned()))?;
        }
        Ok(told)
    }
}

/// What the thread has.
struct Running {
    scheduler: Scheduler,
    live: HashMap<RequestId, Live>,
    metrics: Arc<Metrics>,
    patience: Duration,
}

impl Running {
    fn run(&mut self, mut incoming: Receiver<Order>, load: &Mutex<Load>) {
        loop {
            self.tell_problems();
            if self.live.is_empty() {
                match incoming.blocking_recv() {
                    Some(Order::Job(job)) => self.take(*job),
                    Some(Order::End) | None => return self.end(),
                }
            }
            while let Ok(order) = incoming.try_recv() {
                match order {
                    Order::Job(job) => self.take(*job),
                    Order::End => return self.end(),
                }
            }
            self.drop_unheard();
            let looked = Instant::now();
            self.catch_up();
            if !self.pass() {
                thread::sleep(PAUSE);
            }
            self.wait_for_readers(looked.elapsed());
            *load.lock().unwrap_or_else(PoisonError::into_inner) = self.scheduler.load();
        }
    }

    /// Writes what is kept, what was read for those that run among it.
    fn end(&mut self) {
        for id in self.live.keys() {
            self.scheduler.cancel(*id);
        }
        self.scheduler.write_store();
        self.tell_problems();
    }

    /// Writes to the log what has happened to files of caches.
    fn tell_problems(&mut self) {
        for problem in self.scheduler.store_problems() {
            tracing::warn!(problem = %problem, "a file of a cache is not used");
        }
    }

    fn take(&mut self, job: Job) {
        let mut request = Request::new(&job.task.prompt, job.task.options);
        if let Some(best) = job.task.logprobs {
            request = request.logprobs(best);
        }
        if let Some(best) = job.task.prompt_logprobs {
            request = request.prompt_logprobs(best);
        }
        match self.scheduler.add(request) {
            Ok(id) => {
                let live = Live {
                    choice: job.choice,
                    events: job.events,
                    behind: VecDeque::new(),
                    waited: Duration::ZERO,
                    prompt: job.task.prompt.tokens.len(),
                    came: job.came,
                    told: None,
                    room: Some(job.room),
                };
                self.live.insert(id, live);
            }
            // It is the first of its choice, and there is room for it.
            Err(error) => {
                drop(job.room);
                let failed = Told::Event(Event::Failed(error));
                let _ = job.events.try_send((job.choice, failed));
            }
        }
    }

    /// Cancels those to whose answer nobody listens.
    fn drop_unheard(&mut self) {
        let Running {
            scheduler,
            live,
            metrics,
            ..
        } = self;
        live.retain(|id, request| {
            let heard = !request.events.is_closed();
            if !heard && scheduler.cancel(*id) {
                metrics.ended("abort", request.came.elapsed());
            }
            heard
        });
    }

    /// Tells readers what they had no room for. Who is behind is not continued.
    fn catch_up(&mut self) {
        let Running {
            scheduler, live, ..
        } = self;
        live.retain(|id, request| {
            let all = request.catch_up();
            scheduler.hold(*id, !all);
            !all || request.room.is_some()
        });
    }

    /// Gives up those whose readers have let them wait for too long, this `time` included.
    fn wait_for_readers(&mut self, time: Duration) {
        let Running {
            scheduler,
            live,
            metrics,
            patience,
        } = self;
        for (id, request) in live {
            if request.room.is_none() || request.behind.is_empty() {
                continue;
            }
            request.waited += time;
            if request.waited > *patience && scheduler.cancel(*id) {
                metrics.ended("abort", request.came.elapsed());
                request.room = None;
                request.behind.clear();
                request.tell(Told::GivenUp);
            }
        }
    }

    /// Makes a forward pass; whether there was anything to do.
    fn pass(&mut self) -> bool {
        let Running {
            scheduler,
            live,
            metrics,
            ..
        } = self;
        scheduler.pass(|id, event| {
            let Some(request) = live.get_mut(&id) else {
                return;
            };
            match &event {
                Event::Joined { cached } => metrics.joined(request.prompt, *cached),
                Event::Read(tokens) => metrics.read(*tokens),
                Event::Piece { piece, .. } if piece.token.is_some() => {
                    let now = Instant::now();
                    match request.told.replace(now) {
                        None => metrics.first_token(now - request.came),
                        Some(before) => metrics.next_token(now - before),
                    }
                }
                Event::Ended(generated) => {
                    let reason = generated.stop.map_or("stop", finish::reason);
                    metrics.ended(reason, request.came.elapsed());
                }
                Event::Failed(_) => metrics.ended("error", request.came.elapsed()),
                _ => {}
            }
            // Its room is free before anybody knows that it has ended.
            if matches!(event, Event::Ended(_) | Event::Failed(_)) {
                request.room = None;
            }
            request.tell(Told::Event(event));
            if request.room.is_none() && request.behind.is_empty() {
                live.remove(&id);
            }
        })
    }
}
