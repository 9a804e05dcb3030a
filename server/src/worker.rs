//! [`Worker`]: the thread that the scheduler runs on.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bitnet_engine::scheduler::{Event, Load, Request, RequestId, Scheduler, SchedulerOptions};
use bitnet_engine::{EncodedPrompt, Engine, GenerateOptions};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;
use crate::finish;
use crate::metrics::Metrics;

/// What one choice of a request needs.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) prompt: Arc<EncodedPrompt>,
    pub(crate) options: GenerateOptions,
    pub(crate) logprobs: Option<usize>,
}

/// Events of the choices of a request, each with its number. Dropping it cancels all of them.
pub(crate) type Events = UnboundedReceiver<(usize, Event)>;

/// A task on its way to the thread.
struct Job {
    task: Task,
    choice: usize,
    events: UnboundedSender<(usize, Event)>,
    came: Instant,
    room: OwnedSemaphorePermit,
}

/// A task that the scheduler has.
struct Live {
    choice: usize,
    events: UnboundedSender<(usize, Event)>,
    /// Tokens of its prompt.
    prompt: usize,
    came: Instant,
    told: Option<Instant>,
    _room: OwnedSemaphorePermit,
}

/// The thread that runs forward passes, reached through a channel that holds no more than may wait.
#[derive(Clone)]
pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    most: usize,
    queue: usize,
    load: Arc<Mutex<Load>>,
    context: usize,
}

impl Worker {
    /// Starts the thread. It ends when all handles are dropped and nothing runs any more.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(
        engine: &Engine,
        options: SchedulerOptions,
        (parallel, queue): (usize, usize),
        metrics: Arc<Metrics>,
    ) -> io::Result<Worker> {
        let most = parallel.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        let scheduler = Scheduler::new(engine, options.parallel(parallel));
        let (jobs, incoming) = mpsc::channel(most);
        let load = Arc::new(Mutex::new(Load::default()));
        let worker = Worker {
            jobs,
            room: Arc::new(Semaphore::new(most)),
            most,
            queue,
            load: Arc::clone(&load),
            context: scheduler.context(),
        };
        let thread = std::thread::Builder::new().name("engine".to_owned());
        let live = HashMap::new();
        let mut running = Running {
            scheduler,
            live,
            metrics,
        };
        thread.spawn(move || running.run(incoming, &load))?;
        Ok(worker)
    }

    /// Most tokens of a sequence.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    /// Whether the thread still takes tasks.
    pub(crate) fn is_alive(&self) -> bool {
        !self.jobs.is_closed()
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
        let (events, told) = mpsc::unbounded_channel();
        for ((choice, task), room) in tasks.into_iter().enumerate().zip(rooms) {
            let job = Job {
                task,
                choice,
                events: events.clone(),
                came: Instant::now(),
                room,
            };
            // There is a place in the channel for each that has room.
            let sent = self.jobs.try_send(job);
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
}

impl Running {
    fn run(&mut self, mut incoming: mpsc::Receiver<Job>, load: &Mutex<Load>) {
        loop {
            if self.scheduler.is_idle() {
                match incoming.blocking_recv() {
                    Some(job) => self.take(job),
                    None => return,
                }
            }
            while let Ok(job) = incoming.try_recv() {
                self.take(job);
            }
            self.drop_unheard();
            self.pass();
            *load.lock().unwrap_or_else(PoisonError::into_inner) = self.scheduler.load();
        }
    }

    fn take(&mut self, job: Job) {
        let mut request = Request::new(&job.task.prompt, job.task.options);
        if let Some(best) = job.task.logprobs {
            request = request.logprobs(best);
        }
        match self.scheduler.add(request) {
            Ok(id) => {
                let live = Live {
                    choice: job.choice,
                    events: job.events,
                    prompt: job.task.prompt.tokens.len(),
                    came: job.came,
                    told: None,
                    _room: job.room,
                };
                self.live.insert(id, live);
            }
            // Whoever does not listen any more needs no answer.
            Err(error) => {
                drop(job.room);
                let _ = job.events.send((job.choice, Event::Failed(error)));
            }
        }
    }

    /// Cancels those to whose answer nobody listens.
    fn drop_unheard(&mut self) {
        let Running {
            scheduler,
            live,
            metrics,
        } = self;
        live.retain(|id, request| {
            let heard = !request.events.is_closed();
            if !heard && scheduler.cancel(*id) {
                metrics.ended("abort", request.came.elapsed());
            }
            heard
        });
    }

    fn pass(&mut self) {
        let Running {
            scheduler,
            live,
            metrics,
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
            let last = matches!(event, Event::Ended(_) | Event::Failed(_));
            let (events, choice) = (request.events.clone(), request.choice);
            // Its room is free before anybody knows that it has ended.
            if last {
                live.remove(&id);
            }
            // One that nobody hears is cancelled before the next pass.
            let _ = events.send((choice, event));
        });
    }
}
