//! The mailbox against a model of it: random steps, the same answers.

use super::*;
use proptest::prelude::*;
use std::task::{Context, Poll, Waker};

type Sending = std::pin::Pin<Box<dyn Future<Output = Result<(), TellError>>>>;

#[derive(Debug, Clone, Copy)]
enum Step {
    Tell,
    /// Starts to send; `Poll` goes on with it.
    Send,
    Poll,
    /// The actor takes this many.
    Take(usize),
    /// Everything that `Take` would find, seen as the actor sees it.
    Batch,
    Close,
    Open,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Tell),
        3 => Just(Step::Send),
        3 => Just(Step::Poll),
        3 => (1usize..4).prop_map(Step::Take),
        1 => Just(Step::Batch),
        1 => Just(Step::Close),
        1 => Just(Step::Open),
    ]
}

/// What the documentation says, written the slow way.
struct Model {
    limit: usize,
    overflow: Overflow,
    waiting: Vec<u32>,
    closed: bool,
}

impl Model {
    fn push(&mut self, message: u32) -> Result<(), TellError> {
        let is_full = self.waiting.len() == self.limit;
        match self.overflow {
            _ if self.closed => return Err(TellError::Gone("model")),
            Overflow::DropOldest if is_full => drop(self.waiting.remove(0)),
            _ if is_full => return Err(TellError::Full("model")),
            _ => {}
        }
        self.waiting.push(message);
        Ok(())
    }

    fn waits(&self, result: Result<(), TellError>) -> bool {
        self.overflow == Overflow::Wait && matches!(result, Err(TellError::Full(_)))
    }
}

proptest! {
    #[test]
    fn a_mailbox_does_what_its_model_does(
        steps in proptest::collection::vec(step(), 1..120), limit in 1usize..5,
        overflow in prop_oneof![Just(Overflow::Wait), Just(Overflow::Refuse), Just(Overflow::DropOldest)],
    ) {
        let mailbox = Mailbox::new("model", limit, overflow);
        let mut model = Model { limit, overflow, waiting: Vec::new(), closed: false };
        let mut sending: VecDeque<(u32, Sending)> =
            VecDeque::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut life = mailbox.open();
        for (n, step) in (0u32..).zip(steps) {
            match step {
                Step::Tell => prop_assert_eq!(mailbox.tell(n), model.push(n)),
                Step::Send => {
                    let mailbox = mailbox.clone();
                    sending.push_back((n, Box::pin(async move { mailbox.send(n).await })));
                }
                Step::Poll => {
                    let Some((message, mut send)) = sending.pop_front() else { continue };
                    let expected = model.push(message);
                    match send.as_mut().poll(&mut cx) {
                        Poll::Ready(result) => prop_assert_eq!(result, expected),
                        Poll::Pending => {
                            prop_assert!(model.waits(expected), "a send waits only for space");
                            sending.push_back((message, send));
                        }
                    }
                }
                Step::Take(count) => {
                    let expected: Vec<_> = model.waiting.drain(..count.min(model.waiting.len())).collect();
                    let take = |_| mailbox.pop(life).map(|(message, in_hand)| {
                        in_hand.done();
                        message
                    });
                    let taken: Vec<_> = (0..count).filter_map(take).collect();
                    prop_assert_eq!(taken, expected);
                    prop_assert!(mailbox.pop(life - 1).is_none(), "who was given up for lost takes nothing");
                }
                Step::Batch => prop_assert_eq!(mailbox.begin_batch(life), model.waiting.len()),
                Step::Close => {
                    mailbox.close();
                    model.closed = true;
                    model.waiting.clear();
                }
                Step::Open => {
                    life = mailbox.open();
                    model.closed = false;
                }
            }
            prop_assert_eq!(mailbox.depth(), model.waiting.len());
        }
    }
}
