//! Which kinds there are, behind one type.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use loadtest_core::template::Template;

use super::{Done, Step, StepKind, Threads};
use crate::clock;

/// The step kinds that a runner knows, by the names that manifests have for them.
#[derive(Clone, Default)]
pub struct StepKinds {
    all: Arc<BTreeMap<String, Arc<dyn Kind>>>,
    /// Made for the first step of a plan that needs them.
    threads: Arc<Mutex<Option<Arc<Threads>>>>,
}

/// What a step is told: before the run as the plan has it, of a step that was done as it was rendered.
#[derive(Debug, Clone, Default)]
pub struct Given(BTreeMap<String, Told>);

#[derive(Debug, Clone)]
struct Told {
    text: String,
    /// There are no templates in it.
    is_known: bool,
}

/// A kind that a step of the plan is of.
pub(crate) struct Known {
    /// Its code.
    pub kind: Arc<dyn Kind>,
    /// Its number among all.
    pub number: u32,
    /// Where it runs.
    pub threads: Arc<Threads>,
}

/// A [`StepKind`] whose session is of any type.
pub(crate) trait Kind: Send + Sync {
    /// As [`StepKind::check`].
    fn check(&self, given: &Given) -> Result<(), String>;

    /// As [`StepKind::url`].
    fn url(&self, given: &Given) -> Option<String>;

    /// Does a step with what is left of the user's last one.
    fn run(self: Arc<Self>, session: Option<Box<dyn Any + Send>>, step: Step) -> Running;
}

type Running = Pin<Box<dyn Future<Output = Done> + Send>>;

struct Erased<K>(K);

impl<K: StepKind> Kind for Erased<K> {
    fn check(&self, given: &Given) -> Result<(), String> {
        self.0.check(given)
    }

    fn url(&self, given: &Given) -> Option<String> {
        self.0.url(given)
    }

    fn run(self: Arc<Self>, session: Option<Box<dyn Any + Send>>, mut step: Step) -> Running {
        Box::pin(async move {
            let known = session.and_then(|session| session.downcast::<K::Session>().ok());
            let mut session = known.unwrap_or_default();
            step.goes_to(|given| self.0.url(given));
            let result = self.0.run(&mut session, &mut step).await;
            let end = clock::now();
            let lost = matches!(&result, Err(failed) if !failed.keeps_session);
            Done {
                result,
                session: (!lost).then_some(session as Box<dyn Any + Send>),
                set: step.into_set(),
                end,
            }
        })
    }
}

impl StepKinds {
    /// With another kind; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, name: &str, kind: impl StepKind) -> Self {
        Arc::make_mut(&mut self.all).insert(name.to_owned(), Arc::new(Erased(kind)));
        self
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A kind by its name, with threads to run on.
    ///
    /// # Errors
    /// When the system has no threads.
    pub(crate) fn find(&self, name: &str) -> io::Result<Option<Known>> {
        let mut all = self.all.iter().zip(0..);
        let Some(((_, kind), number)) = all.find(|((known, _), _)| *known == name) else {
            return Ok(None);
        };
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = match &*threads {
            Some(threads) => Arc::clone(threads),
            None => Arc::clone(threads.insert(Arc::new(Threads::start()?))),
        };
        Ok(Some(Known {
            kind: Arc::clone(kind),
            number,
            threads,
        }))
    }
}

impl fmt::Debug for StepKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Given {
    /// As a plan has it.
    pub(crate) fn planned(with: &BTreeMap<String, Template>) -> Self {
        let told = |template: &Template| match template.as_literal() {
            Some(text) => Told {
                text,
                is_known: true,
            },
            None => Told {
                text: template.to_display(),
                is_known: false,
            },
        };
        let all = with.iter();
        Self(all.map(|(name, text)| (name.clone(), told(text))).collect())
    }

    /// As it was rendered.
    pub(crate) fn rendered(with: impl IntoIterator<Item = (String, String)>) -> Self {
        let told = |text| Told {
            text,
            is_known: true,
        };
        let all = with.into_iter();
        Self(all.map(|(name, text)| (name, told(text))).collect())
    }

    /// The text of `with.NAME`, if it is there and has no templates in it that are rendered in the run.
    pub fn text(&self, name: &str) -> Option<&str> {
        let told = self.0.get(name).filter(|told| told.is_known);
        told.map(|told| told.text.as_str())
    }

    /// The text of `with.NAME` for people, templates as the manifest has them: `ws://chat/$(user.index)`.
    pub fn shown(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|told| told.text.as_str())
    }

    /// Refuses a step that lacks one of the first names, or has one that is none of both.
    ///
    /// # Errors
    /// The sentence that says so.
    pub fn only(&self, needed: &[&str], possible: &[&str]) -> Result<(), String> {
        if let Some(missing) = needed.iter().find(|name| !self.0.contains_key(**name)) {
            return Err(format!("with.{missing} is missing"));
        }
        let known: Vec<_> = needed.iter().chain(possible).copied().collect();
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(unknown) if known.is_empty() => {
                Err(format!("with.{unknown} means nothing: it has no with"))
            }
            Some(unknown) => Err(format!(
                "with.{unknown} means nothing: there are {}",
                known.join(", ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use loadtest_core::template::{Names, Position};

    use super::*;

    #[test]
    fn what_is_not_known_before_the_run_is_shown_as_it_is_written() {
        let names = Names::of_variables(BTreeMap::from([("to".to_owned(), "ws://a".to_owned())]));
        let parse = |text| Template::parse(text, Position::Text, &names).unwrap();
        let with = ["$(var.to)/b", "$$(c)/$(user.index)", "$$(c)"].map(parse);
        let with = ["known", "unknown", "escaped"]
            .map(str::to_owned)
            .into_iter()
            .zip(with);
        let given = Given::planned(&with.collect());
        assert_eq!(given.text("known"), Some("ws://a/b"));
        assert_eq!(given.shown("known"), Some("ws://a/b"));
        assert_eq!(given.text("unknown"), None);
        assert_eq!(given.shown("unknown"), Some("$(c)/$(user.index)"));
        assert_eq!(given.text("escaped"), Some("$(c)"));
        assert_eq!((given.text("none"), given.shown("none")), (None, None));
        let rendered = Given::rendered([("unknown".to_owned(), "$(c)/7".to_owned())]);
        assert_eq!(rendered.text("unknown"), Some("$(c)/7"));
    }

    #[test]
    fn what_is_missing_and_what_is_unknown_is_said() {
        let given = |names: &[&str]| {
            Given::rendered(names.iter().map(|name| ((*name).to_owned(), String::new())))
        };
        let only = |names| given(names).only(&["url"], &["message"]);
        assert_eq!(only(&["url"]), Ok(()));
        assert_eq!(only(&["url", "message"]), Ok(()));
        assert_eq!(only(&["message"]), Err("with.url is missing".to_owned()));
        assert_eq!(
            only(&["mesage", "url"]),
            Err("with.mesage means nothing: there are url, message".to_owned())
        );
        assert_eq!(
            given(&["a"]).only(&[], &[]),
            Err("with.a means nothing: it has no with".to_owned())
        );
    }
}
