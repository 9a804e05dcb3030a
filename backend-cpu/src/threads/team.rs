//! How many threads share a pass, by what passes took.
//!
//! On an idle machine all of them are fastest, or almost. Beside other programs that want the
//! cores, and with a model so small that threads mostly wait for each other, fewer can be. So now
//! and then some passes run with another number of threads, in turn with as many as before, and
//! what was faster stays. What such a trial may cost is an allowance, which grows with the time of
//! all passes, faster where passes are held up, and slower the more trials were in vain. Results
//! never depend on it.

use std::collections::BTreeMap;
use std::time::Duration;

/// The most tokens of a pass whose threads are chosen. Passes of more are long beside what threads
/// lose by waiting.
const MOST_TOKENS: usize = 8;

/// Passes of a kind before the first trial: they make what is made once.
const WARM_UP: u32 = 32;

/// The share of all time that trials may cost.
const SHARE: f64 = 0.01;
/// The same of the time by which passes were held up.
const SHARE_HELD_UP: f64 = 0.25;
/// How often the shares are halved, where trials were in vain.
const MOST_VAIN: u32 = 4;
/// A trial begins with as many seconds, since the system lets programs run for milliseconds each.
const LEAST_ALLOWANCE: f64 = 5e-3;
/// The most that is saved up, as a multiple of what a trial begins with.
const MOST_ALLOWANCE: f64 = 8.0;

/// Seconds for which passes run with one number of threads in turn with another.
const TURN: f64 = 20e-3;
/// Turns of each number in a trial.
const TURNS: u32 = 3;
/// Another number of threads is chosen if its passes take at most this share of the time.
const FASTER: f64 = 0.99;
/// Seconds over which the time of a pass is averaged.
const MEMORY: f64 = 0.5;
/// The change of that time after which trials that were in vain no longer count.
const CHANGE: f64 = 1.5;

/// Passes of one kind do the same work but for the depth of the context.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) tokens: usize,
    /// Tokens whose logits are wanted.
    pub(crate) selected: usize,
    /// Whether only the best logits are.
    pub(crate) best: bool,
}

/// The numbers of threads for all kinds of passes.
pub(crate) struct Teams {
    most: usize,
    kinds: BTreeMap<Kind, Team>,
}

impl Teams {
    /// Numbers of up to `most` threads.
    pub(crate) fn new(most: usize) -> Teams {
        Teams {
            most,
            kinds: BTreeMap::new(),
        }
    }

    fn team(&mut self, kind: Kind) -> Option<&mut Team> {
        let chosen = self.most > 1 && kind.tokens <= MOST_TOKENS;
        chosen.then(|| {
            self.kinds
                .entry(kind)
                .or_insert_with(|| Team::new(self.most))
        })
    }

    /// How many threads the next pass of a kind has.
    pub(crate) fn threads(&mut self, kind: Kind) -> usize {
        let most = self.most;
        self.team(kind).map_or(most, |team| team.threads())
    }

    /// Notes how long a pass took with as many threads as [`Teams::threads`] told.
    pub(crate) fn note(&mut self, kind: Kind, time: Duration) {
        if let Some(team) = self.team(kind) {
            team.note(time.as_secs_f64());
        }
    }
}

/// Times of passes.
#[derive(Clone, Copy, Default)]
struct Times {
    seconds: f64,
    passes: f64,
}

impl Times {
    fn add(&mut self, seconds: f64) {
        self.seconds += seconds;
        self.passes += 1.0;
    }

    fn mean(self) -> f64 {
        self.seconds / self.passes
    }
}

/// Another number of threads to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Half,
    Less,
    More,
    Double,
}

impl Step {
    const ALL: [Step; 4] = [Step::Half, Step::Less, Step::More, Step::Double];

    fn from(self, threads: usize, most: usize) -> usize {
        let little = threads.div_ceil(8);
        let to = match self {
            Step::Half => threads / 2,
            Step::Less => threads - little,
            Step::More => threads + little,
            Step::Double => 2 * threads,
        };
        to.clamp(1, most)
    }
}

struct Trial {
    threads: usize,
    /// Times of its passes.
    tried: Times,
    /// Times of those with as many threads as before, in turn with them.
    usual: Times,
    /// Turns that are over, the first one being the trial's, and seconds of the one under way.
    turns: u32,
    turn: f64,
}

impl Trial {
    fn is_on(&self) -> bool {
        self.turns.is_multiple_of(2)
    }
}

/// The number of threads for passes of one kind.
struct Team {
    most: usize,
    threads: usize,
    /// Times of the latest passes with so many threads.
    usual: Times,
    /// About the median of them.
    middle: f64,
    /// Passes so far, as long as they are few.
    warm_up: u32,
    /// Seconds that trials may cost.
    allowance: f64,
    /// Trials that were in vain, since one was not.
    vain: u32,
    /// The mean time of a pass when the last trial began.
    then: f64,
    /// Which of [`Step::ALL`] is tried next.
    step: usize,
    trial: Option<Trial>,
}

impl Team {
    fn new(most: usize) -> Team {
        Team {
            most,
            threads: most,
            usual: Times::default(),
            middle: 0.0,
            warm_up: 0,
            allowance: 0.0,
            vain: 0,
            then: 0.0,
            step: 0,
            trial: None,
        }
    }

    fn threads(&self) -> usize {
        match &self.trial {
            Some(trial) if trial.is_on() => trial.threads,
            _ => self.threads,
        }
    }

    fn note(&mut self, seconds: f64) {
        if self.warm_up < WARM_UP {
            self.warm_up += 1;
            return;
        }
        match self.trial.take() {
            Some(trial) => self.try_on(trial, seconds),
            None => self.go_on(seconds),
        }
    }

    /// Notes a pass outside of trials, and begins one if it is time.
    fn go_on(&mut self, seconds: f64) {
        self.remember(seconds);
        let mean = self.usual.mean();
        let held_up = (seconds - 2.0 * self.middle).max(0.0);
        if mean > CHANGE * self.then || mean < self.then / CHANGE {
            self.vain = 0;
        }
        let gained = SHARE * seconds + SHARE_HELD_UP * held_up;
        let least = LEAST_ALLOWANCE.max(mean);
        self.allowance += gained / f64::from(1 << self.vain);
        self.allowance = self.allowance.min(MOST_ALLOWANCE * least);
        if self.allowance >= least {
            self.then = mean;
            self.trial = Some(Trial {
                threads: self.candidate(),
                tried: Times::default(),
                usual: Times::default(),
                turns: 0,
                turn: 0.0,
            });
        }
    }

    /// The number of threads to try next.
    fn candidate(&mut self) -> usize {
        loop {
            let threads = Step::ALL[self.step].from(self.threads, self.most);
            if threads != self.threads {
                return threads;
            }
            self.step = (self.step + 1) % Step::ALL.len();
        }
    }

    /// Notes a pass of a trial.
    fn try_on(&mut self, mut trial: Trial, seconds: f64) {
        if trial.is_on() {
            trial.tried.add(seconds);
            let usual = Times {
                seconds: self.usual.seconds + trial.usual.seconds,
                passes: self.usual.passes + trial.usual.passes,
            };
            let each = trial.tried.mean() - usual.mean();
            // One more pass would cost more than is allowed.
            if (trial.tried.passes + 1.0) * each > self.allowance {
                self.in_vain(&trial, usual.mean());
                return;
            }
        } else {
            trial.usual.add(seconds);
            self.remember(seconds);
        }
        trial.turn += seconds;
        if trial.turn >= TURN {
            trial.turn = 0.0;
            trial.turns += 1;
        }
        if trial.turns < 2 * TURNS {
            self.trial = Some(trial);
        } else if trial.tried.mean() > FASTER * trial.usual.mean() {
            self.in_vain(&trial, trial.usual.mean());
        } else {
            self.threads = trial.threads;
            self.usual = trial.tried;
            self.middle = trial.tried.mean();
            self.vain = 0;
        }
    }

    fn in_vain(&mut self, trial: &Trial, usual: f64) {
        let lost = trial.tried.seconds - trial.tried.passes * usual;
        self.allowance = (self.allowance - lost.max(0.0)).max(0.0);
        self.vain = (self.vain + 1).min(MOST_VAIN);
        self.step = (self.step + 1) % Step::ALL.len();
    }

    /// Takes a pass with the usual number of threads into the averages.
    fn remember(&mut self, seconds: f64) {
        if self.usual.passes == 0.0 {
            self.middle = seconds;
        }
        self.middle *= if seconds > self.middle { 1.02 } else { 0.98 };
        self.usual.add(seconds);
        let past = self.usual.seconds / MEMORY;
        if past > 1.0 {
            self.usual.seconds /= past;
            self.usual.passes /= past;
        }
    }
}

#[cfg(test)]
mod tests {
    use bitnet_fixtures::Noise;

    use super::*;

    const DECODE: Kind = Kind {
        tokens: 1,
        selected: 1,
        best: true,
    };

    /// The seconds of a pass with so many threads.
    type Pass = fn(usize) -> f64;

    /// Runs passes for so many seconds, of which each takes what `pass(threads)` tells. Returns
    /// the mean time of a pass, and the threads of the last one.
    fn run(teams: &mut Teams, seconds: f64, mut pass: impl FnMut(usize) -> f64) -> (f64, usize) {
        let (mut all, mut threads) = (Times::default(), 0);
        while all.seconds < seconds {
            threads = teams.threads(DECODE);
            let time = pass(threads);
            teams.note(DECODE, Duration::from_secs_f64(time));
            all.add(time);
        }
        (all.mean(), threads)
    }

    /// A pass of so many seconds that the system holds up for 4 ms in a share of cases.
    fn held_up(noise: &mut Noise, seconds: f64, share: f64) -> f64 {
        let chance = f64::from(noise.below(1000)) / 1000.0;
        seconds + if chance < share { 4e-3 } else { 0.0 }
    }

    #[test]
    fn all_threads_stay_where_they_are_fastest_and_trials_cost_less_than_a_hundredth() {
        // A large model and a small one on two cores, and a large one on sixteen.
        let times: [(usize, Pass); 3] = [
            (2, |threads| 55e-3 / threads as f64),
            (2, |threads| if threads == 2 { 110e-6 } else { 118e-6 }),
            (16, |threads| 2e-3 + 50e-3 / threads as f64),
        ];
        for (most, pass) in times {
            let mut teams = Teams::new(most);
            let (mean, _) = run(&mut teams, 60.0, pass);
            assert!(mean < 1.01 * pass(most), "{most} threads: {mean} s");
            let (mean, _) = run(&mut teams, 60.0, pass);
            assert!(mean < 1.005 * pass(most), "{most} threads, later: {mean} s");
        }
    }

    #[test]
    fn fewer_threads_compute_while_other_programs_hold_the_rest_up() {
        let mut noise = Noise::new(1);
        let mut teams = Teams::new(2);
        let idle = |threads| if threads == 2 { 110e-6 } else { 118e-6 };
        run(&mut teams, 5.0, idle);
        // Either of two threads is without a core half the time, and one a third.
        let mut busy = |threads| held_up(&mut noise, idle(threads), [0.014, 0.05][threads - 1]);
        run(&mut teams, 3.0, &mut busy);
        let (mean, _) = run(&mut teams, 20.0, &mut busy);
        let alone = idle(1) + 0.014 * 4e-3;
        assert!(mean < 1.05 * alone, "{mean} s, {alone} s with one thread");
        // They are gone.
        run(&mut teams, 20.0, idle);
        let (mean, _) = run(&mut teams, 20.0, idle);
        assert!(mean < 1.01 * idle(2), "{mean} s");
    }

    #[test]
    fn the_best_number_of_many_threads_is_found() {
        for best in [1, 3, 6, 12, 15] {
            // Each thread helps, and each costs those that wait for it.
            let pass = |threads: usize| {
                let more = (threads as f64 / f64::from(best)).ln();
                1e-3 * (1.0 + more * more)
            };
            let mut teams = Teams::new(16);
            run(&mut teams, 30.0, pass);
            let (mean, _) = run(&mut teams, 10.0, pass);
            assert!(mean < 1.05e-3, "{mean} s where {best} threads are best");
        }
    }

    #[test]
    fn long_passes_and_the_first_ones_have_all_threads() {
        let mut teams = Teams::new(4);
        let prompt = Kind {
            tokens: MOST_TOKENS + 1,
            ..DECODE
        };
        for _ in 0..1000 {
            assert_eq!(teams.threads(prompt), 4);
            teams.note(prompt, Duration::from_secs(1));
        }
        for _ in 0..WARM_UP {
            assert_eq!(teams.threads(DECODE), 4);
            teams.note(DECODE, Duration::from_secs(1));
        }
    }

    #[test]
    fn kinds_of_passes_have_numbers_of_their_own() {
        let mut teams = Teams::new(2);
        let eight = Kind {
            tokens: 8,
            ..DECODE
        };
        run(&mut teams, 20.0, |threads| 1e-4 * threads as f64);
        let ones = (0..1000).filter(|_| {
            let threads = teams.threads(eight);
            teams.note(eight, Duration::from_secs_f64(0.1 / threads as f64));
            threads == 1
        });
        assert!(ones.count() < 10);
        assert_eq!(run(&mut teams, 1.0, |_| 1e-4).1, 1);
    }
}
