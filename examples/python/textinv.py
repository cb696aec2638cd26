"""libtextinv for Python: new words for a frozen text-to-image model, each from three to five pictures of a thing.

    import textinv

    with textinv.Session() as session:
        model = session.open_model()
        words = session.invert(model, images='photos', placeholder='<toy>', initializer='toy', steps=300)
        words.save('toy.safetensors')
        session.generate(model, 'a photo of <toy> in the snow', words).save('snow.png')

This file is the whole binding; copy it beside a program. It needs the standard library alone. It reads structs, constants
and prototypes from textinv.h, so every option of the header is a keyword argument, and its comments say what each means.
Library and header are those that TEXTINV_LIBRARY and TEXTINV_HEADER name, of the source tree that this file lies in, or
those that are installed.

Options: constants may be written as words, dtype='bf16' or sampler='dpmpp-2m'; a picture is an Images, an array as Images
takes it, the name of a file or its bytes; None is the default. `images` of invert() is a folder, a picture or any iterable of
pictures; several words to learn are concepts=[dict(placeholder=..., images=...), ...].

Errors: a call that fails raises Error with the status and the library's message; one that was cancelled, Cancelled.

Callbacks: progress(p), preview(step, images), log(level, line) and all_reduce(values) run in the call's own thread. What
they raise stops the call and is raised from it, and so is KeyboardInterrupt: after Ctrl-C a run ends with its step.
Session.cancel() stops a call from any thread. What was learnt until then is in the embeddings that were given to invert(),
and in a checkpoint when there is an output_dir.

Several processes learn a word together with invert(parallel=dict(rank=..., ranks=..., all_reduce=...)), where all_reduce adds
up its array of floats over all of them, in place; with mpi4py: lambda values: comm.Allreduce(MPI.IN_PLACE, values).

Handles are freed by close(), at the end of a "with", or with the last reference. A model may be used by any number of
threads at once, everything else by one at a time. A session that is in a call refuses another with RuntimeError, in its
callbacks, too; cancel() is always possible, and previews may make and save Images. What a call uses refuses close() so.

Arrays are numpy's where numpy is installed, and memoryviews of the same shape where it is not. As arguments anything with a
buffer will do, and nested lists.
"""
import array
import base64
import ctypes as C
import ctypes.util
import difflib
import itertools
import math
import operator
import os
import re
import signal
import subprocess
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

try:
    import numpy
except ImportError:
    numpy = None

# --- library and header


def _places(library):
    """Folders where library and header may be, the likeliest first."""
    if library:
        for up in ('..', '../..'):
            yield '', (Path(library).resolve().parent / up / 'include').resolve()
    for tree in [*Path(__file__).resolve().parents][2:3]:
        yield tree / 'lib', tree / 'include'
    try:
        folders = [subprocess.run(['pkg-config', '--variable=' + variable, 'textinv'], capture_output=True,
                                  text=True).stdout.strip() for variable in ('libdir', 'includedir')]
    except OSError:  # there is no pkg-config
        folders = []
    if all(folders) and folders:
        yield folders
    for prefix in ('/usr/local', '/usr'):
        yield f'{prefix}/lib', f'{prefix}/include'
    yield '', '/usr/include'


def _find():
    """Paths of the library and of textinv.h."""
    library, header = os.environ.get('TEXTINV_LIBRARY'), os.environ.get('TEXTINV_HEADER')
    for folder, include in _places(library):
        found = library or (os.path.join(folder, 'libtextinv.so') if folder else C.util.find_library('textinv'))
        text = header or os.path.join(include, 'textinv/textinv.h')
        if found and os.path.isfile(text) and (os.path.isfile(found) or not os.path.dirname(found)):
            return os.path.abspath(found) if os.path.dirname(found) else found, text
    raise ImportError('libtextinv.so and textinv.h are not found: "make lib" in the source tree or "make install", or set '
                      'TEXTINV_LIBRARY and TEXTINV_HEADER to their paths, or PKG_CONFIG_PATH to lib/pkgconfig of the prefix')


class _Header:
    """What textinv.h declares: constants, structs, callbacks and functions."""

    def __init__(self, text):
        text = re.sub(r'/\*.*?\*/', ' ', text, flags=re.S)
        text = re.sub(r'^\s*#.*$', ' ', text, flags=re.M)
        self.types = {'float': C.c_float, 'double': C.c_double, 'size_t': C.c_size_t, 'char': C.c_char, 'uint8_t': C.c_uint8,
                      'int32_t': C.c_int32, 'uint32_t': C.c_uint32, 'int64_t': C.c_int64, 'uint64_t': C.c_uint64}
        self.constants, self.structs, self.functions = {}, {}, {}
        self.words = {}  # of a type: {word in small letters: value}
        self.declarations = {}  # of (struct, field): its C type, without const
        for kind, body in re.findall(r'typedef int32_t (textinv_\w+);\s*enum\s*\{(.*?)\}', text, flags=re.S):
            values = {name: int(value) for name, value in re.findall(r'(TEXTINV_\w+)\s*=\s*(-?\d+)', body)}
            common = os.path.commonprefix([*values]).rfind('_') + 1
            self.types[kind] = C.c_int32
            self.constants.update(values)
            self.words[kind] = {name[common:].lower(): value for name, value in values.items()}
        for match in re.finditer(r'typedef (\w+) \(\*(\w+)\)\((.*?)\);|typedef struct (\w+) \{(.*?)\} \w+;', text,
                                 flags=re.S):
            result, callback, arguments, struct, body = match.groups()
            if callback:
                self.types[callback] = C.CFUNCTYPE(None if result == 'void' else self.types[result],
                                                   *[self.declared(a)[0] for a in arguments.split(',')])
            else:
                fields = [self.declared(line) for line in body.split(';') if line.strip()]
                self.declarations.update({(struct, name): declared for _, declared, name in fields})
                self.structs[struct] = self.types[struct] = type(
                    struct, (C.Structure,), {'_fields_': [(name, kind) for kind, _, name in fields]})
        for result, name, arguments in re.findall(r'TEXTINV_API\s+(.*?)\b(textinv_\w+)\((.*?)\);', text, flags=re.S):
            self.functions[name] = (None if result.strip() == 'void' else self.declared(result + ' result')[0],
                                    [self.declared(a)[:2] for a in arguments.split(',') if a.strip() != 'void'])

    def declared(self, declaration):
        """ctypes type, C type without const ("float*") and name of "const float *x" or "uint32_t dim[2]"."""
        base, stars, name, count = re.fullmatch(r'\s*(\w+)\s*((?:\*\s*)*)(\w+)\s*(?:\[(\d+)\])?\s*',
                                                re.sub(r'\bconst\b', ' ', declaration)).groups()
        depth = stars.count('*')
        if depth == 0:
            kind = self.types[base]
        elif depth == 1 and base == 'char':
            kind = C.c_char_p
        elif depth == 1 and base in self.structs:
            kind = C.POINTER(self.structs[base])
        else:
            kind = C.c_void_p
        return kind * int(count) if count else kind, base + '*' * depth, name


def _load(path):
    library = C.CDLL(path)
    for name, (result, arguments) in _header.functions.items():
        if hasattr(library, name):  # a library may be older than the header
            function = getattr(library, name)
            function.restype, function.argtypes = result, [kind for kind, _ in arguments]
    return library


paths = _find()  # of library and header
_header = _Header(Path(paths[1]).read_text())
structs = _header.structs  # by their C names
globals().update(_header.constants)
lib = _load(paths[0])  # every function, as the header declares it

# --- values


_BYTES = bytes, bytearray, memoryview


def _text(data):
    return None if data is None else data.decode('utf-8', 'surrogateescape')


def _bytes(text):
    data = text if isinstance(text, bytes) else os.fspath(text).encode('utf-8', 'surrogateescape')
    if b'\0' in data:
        raise ValueError(f'{text!r}: a text with a zero byte')
    return data


def _values(struct):
    """A struct that the library filled, as an object that stays valid."""
    def plain(value):
        return _text(value) if isinstance(value, bytes) else tuple(value) if isinstance(value, C.Array) else value
    return SimpleNamespace(**{name: plain(getattr(struct, name)) for name, _ in struct._fields_[1:]})


def _word(kind, value):
    """The value of textinv_KIND that a word names, and a number as it is."""
    if not isinstance(value, str):
        return value
    words = _header.words['textinv_' + kind]
    if value.lower().replace('-', '_') not in words:
        raise ValueError(f'{value!r} is no {kind}; there are {", ".join(words)}')
    return words[value.lower().replace('-', '_')]


def _name(kind, value):
    return next((name for name, number in _header.words['textinv_' + kind].items() if number == value), str(value))


def _nested(values, code):
    """nested lists, or a buffer, as a memoryview"""
    if not isinstance(values, (list, tuple)):
        values = memoryview(values).tolist()
    shape, row = [], values
    while isinstance(row, (list, tuple)):
        shape.append(len(row))
        row = row[0] if row else None
    for size in shape[1:]:
        if any(len(row) != size for row in values):
            raise ValueError(f'lists of several lengths where each should have {size}')
        values = [value for row in values for value in row]
    return memoryview(array.array(code, values)).cast('B').cast(code, shape)


def _array(values, *shape, code='f'):
    """values as a contiguous array of that shape, in which None is any size"""
    values = numpy.ascontiguousarray(values, code) if numpy else _nested(values, code)
    if shape and (len(shape) != values.ndim or any(a not in (None, b) for a, b in zip(shape, values.shape))):
        raise ValueError(f'an array {list(values.shape)} where {list(shape)} is expected'.replace('None', 'any'))
    return values


def _empty(*shape, code='f'):
    return numpy.empty(shape, code) if numpy else memoryview(bytearray(4 * math.prod(shape))).cast(code, shape)


def _size(values):
    return 0 if values is None else values.nbytes // values.itemsize


def _address(values):
    if numpy and isinstance(values, numpy.ndarray):
        return values.ctypes.data
    return C.addressof(C.c_char.from_buffer(values))


def _argument(kind, declared, value):
    """value as ctypes takes it for a parameter or field that the header declares so"""
    base = declared.replace('*', '')
    if base in _HANDLES and declared == base + '*' and value is not None:
        if not isinstance(value, _HANDLES[base]):
            raise TypeError(f'{type(value).__name__} in place of {_HANDLES[base].__name__}')
        return value.handle
    if declared == 'char*' and value is not None:
        return _bytes(value)
    if isinstance(value, str):
        raise TypeError(f'{value!r} in place of a number')
    if getattr(value, 'shape', None):
        if '*' not in declared:
            raise TypeError(f'an array {list(value.shape)} in place of a number')
        return _address(value)
    if kind in (C.c_int32, C.c_uint32, C.c_int64, C.c_uint64, C.c_size_t):
        value = operator.index(value)
        if kind(value).value != value:  # ctypes would cut it
            raise ValueError(f'{value} is out of range')
    return value


# --- errors


class Error(Exception):
    """A call failed: status is the number, name the TEXTINV_E_* of it, and the text says why."""

    def __init__(self, status, message):
        self.status, self.name = status, lib.textinv_status_name(status).decode()
        super().__init__(f'{self.name}: {message.decode("utf-8", "replace")}')


class Cancelled(Error):
    """Session.cancel() stopped the call."""


def _check(status):
    """for calls without a session"""
    if status < 0:
        raise Error(status, lib.textinv_session_error(None))


def _ready(name):
    """The struct textinv_NAME with its defaults."""
    size = C.sizeof(structs['textinv_' + name])
    struct = structs['textinv_' + name](size)
    if f'textinv_{name}_init' in _header.functions:
        _check(getattr(lib, f'textinv_{name}_init')(C.byref(struct), size))
    return struct


class _Calls:
    """Gives a session to one call at a time, and carries exceptions past C, where ctypes would print them and go on.

    What a callback raises is kept, and the callback asks the library to stop. A signal's handler (Ctrl-C) may run in the
    moment before a callback's "try" or after it, so while C runs handlers raise inside of the user's functions alone; else
    their exception is kept, too.
    """

    def __init__(self):
        self.lock, self.now = threading.Lock(), SimpleNamespace(inside=False, preview=None)

    def run(self, function, pictures=False):
        """result of the function, or what was raised meanwhile; pictures: a preview may call it"""
        now = SimpleNamespace(error=None, inside=False, preview=None)  # preview: the thread that is in one
        taken, outer, replaced, failure = False, None, {}, None

        def handle(number, frame):
            try:
                replaced[number](number, frame)
            except BaseException as error:
                if self.now.inside:
                    self.now.inside = False
                    raise
                now.error = now.error or error

        try:
            if threading.current_thread() is threading.main_thread():
                for number in signal.valid_signals():
                    handler = signal.getsignal(number)
                    if callable(handler):
                        replaced[number] = handler
                        signal.signal(number, handle)
            taken = self.lock.acquire(blocking=False)
            if not taken and not (pictures and self.now.preview == threading.get_ident()):
                raise RuntimeError('the session is in a call already')
            outer, self.now = self.now, now
            result = function()
        except Error as error:
            failure = error
        finally:
            if taken:
                self.lock.release()
            elif outer:
                self.now = outer
            for number, handler in replaced.items():
                signal.signal(number, handler)
        error, now.error = now.error, None
        if error and failure and not isinstance(failure, Cancelled):
            error.__cause__ = failure
        try:
            if error or failure:
                raise error or failure
            return result
        finally:
            del error, failure  # they know this frame

    def callback(self, function, always=False):
        """always: other processes wait for it, so that nothing raised elsewhere keeps it from its work"""
        def callback(_, *arguments):
            now = self.now
            try:
                try:
                    if now.error is None or always:
                        now.inside = not always
                        function(*arguments)
                finally:
                    now.inside = False
            except BaseException as error:
                now.error = now.error or error
                return True
            return now.error is not None and not always
        return callback


# --- handles


_using = threading.RLock()  # of the counts of calls; a signal's handler may close a handle meanwhile


def _free(kind, cell, _):
    if cell:
        getattr(lib, f'textinv_{kind}_free')(cell)
        cell.value = None


def _handles(value):
    """What is a handle among a call's arguments, and in their structs."""
    if isinstance(value, _Handle):
        yield value
        yield from _handles(getattr(value, 'model', None))  # which a tokenizer is part of
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _handles(item)
    else:  # of a struct, or of a pointer to one
        yield from _handles(getattr(getattr(value, '_obj', value), 'keep', ()))


class _Handle:
    """An object of the library."""
    kind = None

    def __init__(self, session=None, keep=None):
        """empty, for a call to fill _cell; keep: what must live as long"""
        self.session, self._cell, self._calls_in = session, C.c_void_p(), 0
        self._finalizer = weakref.finalize(self, _free, self.kind, self._cell, keep)
        self._finalizer.atexit = False  # a thread may still be in a call

    @classmethod
    def _new(cls, session):
        self = cls.__new__(cls)
        _Handle.__init__(self, session)
        return self

    @classmethod
    def _borrowed(cls, session, address):
        self = cls._new(session)
        self._finalizer.detach()
        self._cell.value = address
        return self

    @property
    def handle(self):
        """the address, for functions of lib"""
        if not self._cell:
            raise ValueError(f'the {self.kind} is closed')
        return self._cell.value

    def close(self):
        """Free it now."""
        with _using:
            if self._calls_in:
                raise RuntimeError(f'the {self.kind} is used by a call')
            self._finalizer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __copy__(self):
        raise TypeError(f'the {self.kind} cannot be copied')

    def __repr__(self):
        return f'<textinv.{type(self).__name__}{self._says() if self._cell else " (closed)"}>'

    def _says(self):
        """for repr()"""
        return ''


class Model(_Handle):
    """A pipeline's frozen weights, of a folder or a single file. `info` has the fields of textinv_model_info."""
    kind = 'model'

    def __init__(self, session, path=None):
        super().__init__()
        session.call('model_open', C.byref(self._cell), session, path)
        info = _ready('model_info')
        _check(lib.textinv_model_get_info(self.handle, C.byref(info)))
        self.info = _values(info)

    def alphas_cumprod(self):
        """The noise schedule, [train_timesteps]."""
        count = self.info.train_timesteps
        values = _empty(count)
        C.memmove(_address(values), lib.textinv_model_alphas_cumprod(self.handle), 4 * count)
        return values

    def tokenizer(self, session, encoder=0):
        """The tokenizer of a text encoder; it needs the model open."""
        if not 0 <= encoder < self.info.num_encoders:  # ctypes would cut it
            raise IndexError(f'encoder {encoder} of {self.info.num_encoders}')
        tokenizer = Tokenizer._borrowed(session, lib.textinv_model_tokenizer(self.handle, encoder))
        tokenizer.model = self
        return tokenizer


class Clip(_Handle):
    """A CLIP model, which pictures are scored with. `info` has the fields of textinv_clip_info, `dim` is one of them."""
    kind = 'clip'

    def __init__(self, session, path=None):
        super().__init__()
        session.call('clip_open', C.byref(self._cell), session, path)
        info = _ready('clip_info')
        _check(lib.textinv_clip_get_info(self.handle, C.byref(info)))
        self.info, self.dim = _values(info), info.dim


class Tokenizer(_Handle):
    """Text to ids. len() is the number of its own ids; larger ones are vectors of new words."""
    kind = 'tokenizer'
    model = None

    def __init__(self, session, path):
        super().__init__(session)
        session.call('tokenizer_open', C.byref(self._cell), session, path)

    @property
    def handle(self):
        if self.model is not None:
            self.model.handle  # raises when that is closed
        return super().handle

    def __len__(self):
        return lib.textinv_tokenizer_size(self.handle)

    def encode(self, text, embeddings=None):
        """Ids of a prompt, begin and end included."""
        count, rest = C.c_size_t(), (self, embeddings, text)
        self.session.call('tokenizer_encode', self.session, None, 0, C.byref(count), *rest)
        ids = _empty(count.value, code='I')
        self.session.call('tokenizer_encode', self.session, ids, count.value, C.byref(count), *rest)
        return ids.tolist()

    def token(self, number):
        """The text of an id, as in the vocabulary; None when there is no such id."""
        return _text(lib.textinv_tokenizer_token(self.handle, number)) if 0 <= number < len(self) else None


class Embeddings(_Handle):
    """New words and their vectors: len(), "in" and "for" work as with a list of the words.

    `report` has the fields of textinv_invert_report once invert() has filled them, and is None before.
    """
    kind = 'embeddings'
    report = None

    def __init__(self, session):
        super().__init__(session)
        session.call('embeddings_new', C.byref(self._cell), session)

    def __len__(self):
        return lib.textinv_embeddings_count(self.handle)

    def __iter__(self):
        return iter([_text(lib.textinv_embeddings_word(self.handle, i)) for i in range(len(self))])

    def _says(self):
        return f' {[*self]}'

    def __contains__(self, word):
        return lib.textinv_embeddings_vectors(self.handle, _bytes(word)) > 0

    def add(self, model, word, initializer=None, num_vectors=1, seed=0):
        """Add a word that starts from words of the model, or at random."""
        self.session.call('embeddings_add', self.session, self, model, word, num_vectors, initializer, seed)

    def set(self, word, rows, encoder=0):
        """Add a word, or replace its vectors: rows [vectors, width]."""
        rows = _array(rows, None, None)
        self.session.call('embeddings_set', self.session, self, word, encoder, *rows.shape, rows)

    def rows(self, word, encoder=0):
        """A copy of a word's vectors, [vectors, width]."""
        name = _bytes(word)
        address = lib.textinv_embeddings_rows(self.handle, name, encoder)
        if not address:
            raise KeyError(word)
        rows = _empty(lib.textinv_embeddings_vectors(self.handle, name),
                      lib.textinv_embeddings_dim(self.handle, name, encoder))
        C.memmove(_address(rows), address, rows.nbytes)
        return rows

    def remove(self, word):
        self.session.call('embeddings_remove', self.session, self, word)

    def copy(self, session=None):
        """The same words in a set of its own; for a callback, whose session is in a call, of another session."""
        copy = Embeddings(session or self.session)
        copy.copy_from(self)
        return copy

    __copy__ = copy

    def __deepcopy__(self, _):
        return self.copy()

    def copy_from(self, other, word=None, name=None):
        """Add the words of another set, or one of them, which may get another name."""
        self.session.call('embeddings_copy', self.session, self, other, word, name)

    def rename(self, word, name):
        """The word is the last one then."""
        self.copy_from(self, word, name)
        self.remove(word)

    def num_values(self):
        """Floats of all words in all encoders: the length of a gradient."""
        return lib.textinv_embeddings_num_values(self.handle)

    def load(self, file, model=None, word=None, name='memory'):
        """Add the words of a file of any known format, or of its bytes, which messages call name; a model checks them."""
        if isinstance(file, _BYTES):
            self.session.call('embeddings_load_memory', self.session, self, model, bytes(file), len(file), name, word)
        else:
            self.session.call('embeddings_load', self.session, self, model, file, word)

    def metadata(self):
        """What the file of the last load() says of itself; "layout" is what the library found it to be."""
        pairs, key = {}, C.c_char_p()
        for i in itertools.count():
            value = lib.textinv_embeddings_metadata(self.handle, i, C.byref(key))
            if value is None:
                return pairs
            pairs.setdefault(_text(key.value), _text(value))  # the file may have a "layout", too

    def save(self, path, format='auto', word=None):
        """Write all words, or one, to a file: diffusers, a1111, kohya, sdxl, or what they need."""
        self.session.call('embeddings_save', self.session, self, path, _word('format', format), word)

    def to_bytes(self, format='auto', word=None):
        """What save() writes."""
        return self.session._written('embeddings_save_memory', self, _word('format', format), word)


class Optimizer(_Handle):
    """AdamW on the rows of embeddings, for loops of one's own around Session.loss()."""
    kind = 'optimizer'

    def __init__(self, session, embeddings, **options):
        super().__init__(session)
        self.embeddings = embeddings
        session.call('optimizer_new', C.byref(self._cell), session, embeddings,
                     C.byref(session._params('optimizer_params', options)))

    @classmethod
    def load(cls, session, embeddings, path):
        """Optimizer and words of a checkpoint."""
        self = cls._new(session)
        self.embeddings = embeddings
        session.call('optimizer_load', C.byref(self._cell), session, embeddings, path)
        return self

    def save(self, path):
        """Write a checkpoint."""
        self.session.call('optimizer_save', self.session, self, self.embeddings, path)

    def step(self, gradient):
        gradient = _array(gradient, None)
        self.session.call('optimizer_step', self.session, self, self.embeddings, gradient, _size(gradient))

    def steps(self):
        """Steps taken."""
        return lib.textinv_optimizer_steps(self.handle)

    def set_learning_rate(self, rate):
        _check(lib.textinv_optimizer_set_learning_rate(self.handle, rate))


class Images(_Handle):
    """8-bit RGB pictures of one size; numpy.asarray(images) is [count, height, width, 3], images[i] and "for" give one.

    Notebooks show them.
    """
    kind = 'images'

    def __init__(self, session, pixels):
        """pixels: a buffer of bytes with the shape [count, height, width, 3] or [height, width, 3]; of grey, as masks are, or
        of True for white, [height, width]; with numpy also a picture of Pillow"""
        super().__init__(session)
        view = memoryview(numpy.asarray(pixels) if numpy and hasattr(pixels, '__array_interface__') else pixels)
        data, shape = view.tobytes(), view.shape
        if view.ndim == 2 and view.format in 'B?':
            grey, data, shape = data, bytearray(3 * len(data)), (*shape, 3)
            for i in range(3):
                data[i::3] = grey if view.format == 'B' else grey.translate(bytes([0, *[255] * 255]))
        elif view.format != 'B' or view.ndim not in (3, 4) or shape[-1] != 3:
            raise ValueError('pixels: bytes [count, height, width, 3] are expected, or [height, width] of grey, not '
                             f'{view.format!r} {list(shape)}')
        count, height, width, _ = (1, *shape)[-4:]
        session.call('images_new', C.byref(self._cell), session, bytes(data), count, width, height)

    def __len__(self):
        return lib.textinv_images_count(self.handle)

    @property
    def shape(self):
        return len(self), lib.textinv_images_height(self.handle), lib.textinv_images_width(self.handle), 3

    def pixels(self, i=0):
        """Bytes of picture i, [height, width, 3]."""
        if not 0 <= i < len(self):  # ctypes would cut it
            raise IndexError(f'picture {i} of {len(self)}')
        return C.string_at(lib.textinv_images_pixels(self.handle, i), math.prod(self.shape[1:]))

    def __getitem__(self, i):
        """Picture i as an array [height, width, 3]."""
        i = operator.index(i)
        data = bytearray(self.pixels(i + len(self) if i < 0 else i))
        return (numpy.frombuffer(data, numpy.uint8).reshape if numpy else lambda s: memoryview(data).cast('B', s))(self.shape[1:])

    def __array__(self, dtype=None, copy=None):
        return numpy.stack([*self]).astype(dtype or numpy.uint8, copy=False)

    def _says(self):
        count, height, width, _ = self.shape
        return f' {count} of {width} x {height}'

    def _repr_html_(self):
        data = (base64.b64encode(self.to_bytes(i)).decode() for i in range(len(self)))
        return ' '.join(f'<img src="data:image/png;base64,{picture}">' for picture in data)

    def seed(self, i=0):
        return lib.textinv_images_seed(self.handle, i)

    def parameters(self, i=0):
        """Prompt, sampler, seed and so on of a generated picture, as A1111 writes them, or of a PNG file that has them."""
        return _text(lib.textinv_images_parameters(self.handle, i))

    def resize(self, width, height):
        """Resize all pictures, in place."""
        self.session.call('images_resize', self.session, self, width, height)

    def save(self, path, i=0, parameters=None):
        """Write picture i as PNG; parameters: None = parameters(i), '' = none."""
        self.session.call('images_save', self.session, self, i, path, parameters)

    def to_bytes(self, i=0, parameters=None):
        """What save() writes."""
        return self.session._written('images_save_memory', self, i, parameters)


class Session(_Handle):
    """Device, threads and memory of calls: dtype='bf16', backend='cuda', threads=4, log=print and so on."""
    kind = 'session'

    def __init__(self, **options):
        self._calls = _Calls()
        params = self._params('session_params', options)
        super().__init__(keep=params)
        self.call('session_new', C.byref(self._cell), C.byref(params))

    def call(self, name, *arguments):
        """textinv_NAME(arguments); raises what a callback raised, or what the library says when it fails."""
        def function():
            declared, used = _header.functions['textinv_' + name][1], [*_handles(arguments)]
            with _using:
                for handle in used:
                    handle._calls_in += 1
            try:
                status = getattr(lib, 'textinv_' + name)(*[
                    _argument(*parameter, value) for parameter, value in zip(declared, arguments)])
            finally:
                with _using:
                    for handle in used:
                        handle._calls_in -= 1
            if status < 0:
                kind = Cancelled if status == _header.constants['TEXTINV_E_CANCELLED'] else Error
                raise kind(status, lib.textinv_session_error(self._cell))
        self._calls.run(function, name.startswith('images_'))

    def close(self):
        self._calls.run(self._finalizer)

    def _params(self, name, options):
        """The struct textinv_NAME with its defaults, then options."""
        struct = _ready(name)
        struct.keep = []  # what its pointers point to
        for key, value in options.items():
            if value is not None:
                try:
                    self._set(struct, dict(struct._fields_), key, value)
                except (TypeError, ValueError) as error:
                    raise (TypeError if isinstance(error, TypeError) else ValueError)(f'{key}: {error}') from None
        return struct

    def _set(self, struct, kinds, key, value):
        if key not in kinds or key == 'struct_size':
            near = difflib.get_close_matches(key, kinds, 1)
            raise TypeError('no such option' + (f'; did you mean {near[0]}?' if near else ''))
        kind, declared = kinds[key], _header.declarations[type(struct).__name__, key]
        base = declared.replace('*', '')
        if declared in _header.words:
            value = _word(declared.replace('textinv_', ''), value)
        elif callable(value):
            value = kind(self._calls.callback(getattr(self, '_for_' + key, lambda f: f)(value), key == 'all_reduce'))
        elif declared.endswith('**') or base in structs:
            single = isinstance(value, (str, *_BYTES)) or not hasattr(value, '__iter__') or getattr(value, 'ndim', 1) == 3
            items = [value] if single else [*value]
            if base == 'textinv_images':
                items = [self._picture(v) for v in items]
                value = (C.c_void_p * len(items))(*[v.handle for v in items])
            elif base == 'char':
                value = (C.c_char_p * len(items))(*map(_bytes, items))
            else:
                value = (structs[base] * len(items))(*items)
            if 'num_' + key in kinds:
                setattr(struct, 'num_' + key, len(items))
            struct.keep += [items, value]
            value = C.cast(value, kind)
        elif base == 'textinv_images':
            value = self._picture(value)
        struct.keep.append(value)
        setattr(struct, key, _argument(kind, declared, value))

    def _picture(self, value):
        if isinstance(value, Images):
            return value
        array = getattr(value, 'ndim', 1) > 1 or hasattr(value, '__array_interface__')
        return Images(self, value) if array else self.read_image(value)

    @staticmethod
    def _for_log(function):
        return lambda level, line: function(_name('log_level', level), line.decode('utf-8', 'replace'))

    @staticmethod
    def _for_progress(function):
        return lambda progress: function(_values(progress[0]))

    @staticmethod
    def _for_all_reduce(function):
        def all_reduce(address, count):
            values = (C.c_float * count).from_address(address)
            function(numpy.ctypeslib.as_array(values) if numpy else memoryview(values).cast('B').cast('f'))
        return all_reduce

    def _for_preview(self, function):
        def preview(step, address):
            images, now = Images._borrowed(self, address), self._calls.now
            now.preview = threading.get_ident()
            try:
                function(step, images)
            finally:
                images._cell.value = now.preview = None
        return preview

    def _written(self, name, *arguments):
        """Bytes that textinv_NAME writes into memory."""
        size = C.c_size_t()
        self.call(name, self, None, 0, C.byref(size), *arguments)
        data = bytearray(size.value)
        self.call(name, self, memoryview(data), len(data), C.byref(size), *arguments)
        return bytes(data)

    def cancel(self):
        """Stop the running call, or the next one, with Cancelled; from any thread."""
        lib.textinv_session_cancel(self.handle)

    def clear_cancel(self):
        """Take back a cancel() that came too late for its call."""
        self._calls.run(lambda: lib.textinv_session_clear_cancel(self.handle))

    def peak_bytes(self):
        """Bytes of the largest plan that was run: activations and scratch, without weights."""
        return self._calls.run(lambda: lib.textinv_session_peak_bytes(self.handle))

    # --- files

    def open_model(self, path=None):
        """A model in the diffusers folder layout, or a single file; None = the default model."""
        return Model(self, path)

    def open_clip(self, path=None):
        """A CLIP model in transformers' folder layout; None = the one of the default model."""
        return Clip(self, path)

    def load(self, *files, model=None):
        """The words of embedding files."""
        words = Embeddings(self)
        for file in files:
            words.load(file, model)
        return words

    def read_image(self, file, name='memory'):
        """A PNG or JPEG file, or its bytes, which messages call name."""
        images = Images._new(self)
        if isinstance(file, _BYTES):
            self.call('image_read_memory', C.byref(images._cell), self, bytes(file), len(file), name)
        else:
            self.call('image_read', C.byref(images._cell), self, file)
        return images

    def file_kind(self, path):
        """'model', 'embedding', 'checkpoint', 'image', 'clip' or 'unknown', from the content."""
        kind = C.c_int32()
        self.call('file_kind', C.byref(kind), self, path)
        return _name('kind', kind.value)

    # --- whole jobs

    def invert(self, model, embeddings=None, concepts=None, **options):
        """Learn words. Options are the fields of textinv_invert_params and, for one word, of textinv_concept.

        Returns embeddings, new ones when None are given; embeddings.report says what was done.
        """
        if concepts is None:
            fields = {'images', *(name for name, _ in structs['textinv_concept']._fields_)}
            concepts = [{key: options.pop(key) for key in [*options] if key in fields}]
        options['concepts'] = []
        for concept in map(dict, concepts):
            images = concept.pop('images', None)
            if images is not None:
                folder = isinstance(images, (str, os.PathLike)) and not os.path.isfile(images)
                concept['images_path' if folder else 'pictures'] = images
            options['concepts'].append(self._params('concept', concept))
        if options.get('parallel'):
            options['parallel'] = self._params('parallel', options['parallel'])
        options['progress'] = options.get('progress') or (lambda p: None)  # where Ctrl-C is noticed
        embeddings = Embeddings(self) if embeddings is None else embeddings
        report = _ready('invert_report')
        try:
            self.call('invert', self, model, embeddings, C.byref(self._params('invert_params', options)), C.byref(report))
        finally:
            embeddings.report = _values(report)
        return embeddings

    def generate(self, model, prompt, embeddings=None, **options):
        """Draw pictures of a prompt, in which the words of embeddings may stand; options: textinv_generate_params."""
        options['progress'] = options.get('progress') or (lambda p: None)
        images = Images._new(self)
        self.call('generate', C.byref(images._cell), self, model, embeddings,
                  C.byref(self._params('generate_params', {'prompt': prompt, **options})))
        return images

    def evaluate(self, clip, pictures, references=None, prompts=None, **options):
        """How much pictures show what references show, and their prompts; options: textinv_evaluate_params.

        Pictures and references may be folders. Returns the fields of textinv_scores, and in `each` [pictures, 2] the two similarities of every picture.
        """
        options['progress'] = options.get('progress') or (lambda p: None)
        pictures, references = _folder(pictures), _folder(references)
        params = self._params('evaluate_params', dict(pictures=pictures, references=references, prompts=prompts, **options))
        handles = C.cast(params.pictures, C.POINTER(C.c_void_p))
        count = sum(lib.textinv_images_count(handles[i]) for i in range(params.num_pictures))
        each, scores = _empty(count, 2) if count else None, _ready('scores')
        self.call('evaluate', self, C.byref(scores), each, _size(each), clip, C.byref(params))
        return SimpleNamespace(**vars(_values(scores)), each=each)

    # --- single steps

    def clip_encode_image(self, clip, images, i=0):
        """The embedding of picture i, [dim], of unit length."""
        out = _empty(clip.dim)
        self.call('clip_encode_image', self, out, _size(out), clip, self._picture(images), i)
        return out

    def clip_encode_text(self, clip, text):
        """The embedding of a text, [dim], of unit length, and the number of tokens left out."""
        out, cut = _empty(clip.dim), C.c_size_t()
        self.call('clip_encode_text', self, out, _size(out), C.byref(cut), clip, text)
        return out, cut.value

    def loss(self, model, embeddings, latents, noise, timesteps, prompts, gradient=True):
        """Loss of given samples, and its gradient [embeddings.num_values()] or None."""
        latents, prompts = _array(latents, None, model.info.latent_channels, None, None), list(prompts)
        batch, _, height, width = latents.shape
        if len(prompts) != batch:
            raise ValueError(f'{len(prompts)} prompts for {batch} samples')
        params = self._params('loss_params', dict(
            batch=batch, height=height, width=width, latents=latents, noise=_array(noise, *latents.shape),
            timesteps=_array([_argument(C.c_uint32, 'uint32_t', t) for t in timesteps], batch, code='I'), prompts=prompts))
        loss = C.c_float()
        count = embeddings.num_values() if gradient else 0
        rows = _empty(count) if count else None
        self.call('loss', self, C.byref(loss), rows, _size(rows), model, embeddings, C.byref(params))
        return loss.value, rows

    def encode_prompt(self, model, prompt, embeddings=None, clip_skip=0):
        """Context [max_tokens, context_dim], pooled text [pooled_dim] or None, and the number of tokens left out."""
        context = _empty(model.info.max_tokens, model.info.context_dim)
        pooled = _empty(model.info.pooled_dim) if model.info.pooled_dim else None
        cut = C.c_size_t()
        self.call('encode_prompt', self, context, _size(context), pooled, _size(pooled), C.byref(cut), model, embeddings,
                  prompt, clip_skip)
        return context, pooled, cut.value

    def encode_image(self, model, images, i=0):
        """Mean and standard deviation of picture i's latents, each [channels, height, width]."""
        images = self._picture(images)
        _, height, width, _ = images.shape
        scale = model.info.latent_scale
        mean, deviation = (_empty(model.info.latent_channels, height // scale, width // scale) for _ in range(2))
        self.call('encode_image', self, mean, deviation, _size(mean), model, images, i)
        return mean, deviation

    def predict_noise(self, model, latents, timestep, context, pooled=None, size_ids=None, mask=None, masked=None):
        """What the UNet says of latents [batch, channels, height, width]: the same shape.

        A model made for inpainting needs mask [batch, 1, height, width] and masked, latents of the masked picture.
        """
        info = model.info
        latents = _array(latents, None, info.latent_channels, None, None)
        batch, _, height, width = latents.shape
        params = self._params('predict_params', dict(
            batch=batch, height=height, width=width, latents=latents, timestep=timestep,
            context=_array(context, batch, info.max_tokens, info.context_dim),
            pooled=None if pooled is None else _array(pooled, batch, info.pooled_dim),
            size_ids=None if size_ids is None else _array(size_ids, batch, 6),
            mask=None if mask is None else _array(mask, batch, 1, height, width),
            masked=None if masked is None else _array(masked, *latents.shape)))
        out = _empty(*latents.shape)
        self.call('predict_noise', self, out, _size(out), model, C.byref(params))
        return out

    def decode_latents(self, model, latents, images=False):
        """Values of the pictures, [batch, 3, height, width], -1 to 1 but not clamped; with images the pictures as Images."""
        latents = _array(latents, None, model.info.latent_channels, None, None)
        batch, _, height, width = latents.shape
        scale = model.info.latent_scale
        values = None if images else _empty(batch, 3, height * scale, width * scale)
        pictures = Images._new(self) if images else None
        self.call('decode_latents', self, C.byref(pictures._cell) if images else None, values, _size(values), model, latents,
                  batch, width, height)
        return pictures if images else values


def _folder(value):
    """the pictures in it, where value is a folder"""
    if not isinstance(value, (str, os.PathLike)) or not os.path.isdir(value):
        return value
    return sorted(path for path in Path(value).iterdir() if path.suffix.lower() in ('.png', '.jpg', '.jpeg'))


_HANDLES = {'textinv_' + kind.kind: kind for kind in (Session, Model, Clip, Tokenizer, Embeddings, Optimizer, Images)}


def version():
    """Version of the library, as '1.2.3'."""
    number = lib.textinv_version()
    return f'{number >> 16}.{number >> 8 & 255}.{number & 255}'


def devices(backend='cpu', backend_path=None):
    """What Session may be opened on: the fields of textinv_device_info for each device of the backend."""
    backend, path, count = _word('backend', backend), backend_path and _bytes(backend_path), C.c_uint32()
    _check(lib.textinv_device_count(C.byref(count), backend, path))
    infos = [_ready('device_info') for _ in range(count.value)]
    for i, info in enumerate(infos):
        _check(lib.textinv_device_get_info(C.byref(info), backend, i, path))
    return [_values(info) for info in infos]
