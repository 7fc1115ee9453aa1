"""Start-up hook of ValueEval: tells lm-eval about our tasks and models when lm-eval is imported.

Released lm-eval (0.4.13) loads no entry points, so the file ``lm_eval_valueeval.pth`` beside this
one calls ``install`` whenever Python starts. That only puts a finder first on ``sys.meta_path``.
The finder waits for two modules of lm-eval, calls ``valueeval.registration`` once they are loaded,
and removes itself. ``VALUEEVAL_NO_HOOK=1`` switches the hook off.

Every Python of the environment runs this: it imports nothing but ``sys`` and must never raise.
"""

import sys

WAITING_FOR = {
    "lm_eval.models": "register_models",
    "lm_eval.tasks._index": "register_tasks",
}


class Finder:
    """Delegates to the other finders, and registers us after the modules in WAITING_FOR."""

    def __init__(self):
        self.waiting = dict(WAITING_FOR)

    def find_spec(self, name, path=None, target=None):
        """Return the other finders' spec, its loader prepared; None for modules not waited for."""
        if name not in self.waiting:
            return None
        for finder in list(sys.meta_path):
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            spec = find_spec(name, path, target) if find_spec else None
            if spec is not None:
                self.prepare(spec)
                return spec
        return None

    def prepare(self, spec):
        """Make the loader of ``spec`` call us after the module ran.

        The loader object itself stays (only its ``exec_module`` is replaced, until the module has
        run), so that whatever asks it for source code or resources later finds what it expects.
        """
        loader = spec.loader
        original = getattr(loader, "exec_module", None)
        if original is None:
            return

        def exec_module(module):
            original(module)
            if module.__name__ == spec.name:  # some loaders serve many modules
                loader.exec_module = original
                self.done(spec.name)

        try:
            loader.exec_module = exec_module
        except AttributeError:
            return  # a loader that cannot be changed: `valueeval run` still registers us

    def done(self, name):
        """Run the module's action, once, and leave ``sys.meta_path`` after the last one."""
        action = self.waiting.pop(name, None)
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)
        if action is not None:
            call(action)


def call(action):
    """Run a function of valueeval.registration; a failure is a warning, never an exception."""
    try:
        try:
            from valueeval import registration
        except ImportError:
            return  # the package is gone or going: nothing to register
        getattr(registration, action)()
    except Exception as error:
        import logging

        logging.getLogger("valueeval").warning("ValueEval: %s failed: %r", action, error)


def install():
    """Put the finder first on ``sys.meta_path``, once."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
