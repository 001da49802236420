//! What runs by keys of ours on one core, so that `weir key revoke --cut` can end it.
//!
//! A connection is entered when it first shows a key, not once per exchange; between a cut and its end stands one
//! wake-up of the task that serves it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use foldhash::HashMap;

use crate::base::clock::Wall;
use crate::policy::identity::key::KeyRing;

/// Connections by number, and what ends them.
#[derive(Default)]
pub(super) struct Running(RefCell<HashMap<u64, Rc<Cut>>>);

/// One connection that shows keys.
#[derive(Default)]
pub(super) struct Cut {
    /// Id of the key of the exchange under way.
    key: RefCell<Option<String>>,
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Running {
    /// A connection begins to show keys.
    pub(super) fn enter(&self, connection: u64) -> Rc<Cut> {
        self.0.borrow_mut().entry(connection).or_default().clone()
    }

    /// A connection has ended.
    pub(super) fn leave(&self, connection: u64) {
        self.0.borrow_mut().remove(&connection);
    }

    /// Other keys are in force: end what runs by those that were taken back so.
    pub(super) fn cut(&self, keys: &KeyRing) {
        for cut in self.0.borrow().values() {
            let cuts = cut.key.borrow().as_ref().is_some_and(|id| keys.cuts(id));
            if cuts && !cut.called.replace(true) {
                cut.waker.borrow_mut().take().into_iter().for_each(Waker::wake);
            }
        }
    }
}

impl Cut {
    /// An exchange begins by this key, or by none.
    pub(super) fn runs_by(&self, key: Option<String>) {
        *self.key.borrow_mut() = key;
        // What was called ended the exchange before; on a front's connection this one is somebody else's.
        self.called.set(false);
    }

    /// Whether it was called; if not, the task is woken when it is.
    pub(super) fn poll(&self, cx: &Context<'_>) -> bool {
        if self.is_called() {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        false
    }

    /// Whether the key that it runs by opens nothing any more.
    pub(super) fn lost(&self, keys: &KeyRing, now: Wall) -> bool {
        self.key.borrow().as_ref().is_some_and(|id| !keys.holds(id, now))
    }

    /// Whether what runs must end.
    pub(super) fn is_called(&self) -> bool {
        self.called.get()
    }
}
