"""libtextinv through ctypes, as the parity tests use it.

Structs, constants and prototypes are read from include/textinv/textinv.h, so the binding is never older
than the header. `check_layout()` compares every size and offset with what the C compiler says.
"""
import ctypes as C
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / 'include/textinv/textinv.h'

SCALARS = {
    'int32_t': C.c_int32, 'uint32_t': C.c_uint32, 'uint64_t': C.c_uint64, 'size_t': C.c_size_t,
    'float': C.c_float, 'double': C.c_double, 'uint8_t': C.c_uint8,
}


def _source():
    text = HEADER.read_text()
    text = re.sub(r'/\*.*?\*/', ' ', text, flags=re.S)
    return re.sub(r'^\s*#.*$', ' ', text, flags=re.M)


class _Header:
    """What the header declares: constants, structs, callbacks and functions."""

    def __init__(self):
        text = _source()
        self.types = dict(SCALARS)
        self.constants = {}
        self.structs = {}
        self.functions = {}
        for name in re.findall(r'typedef int32_t (textinv_\w+);', text):
            self.types[name] = C.c_int32
        for body in re.findall(r'\benum\s*\{(.*?)\}', text, flags=re.S):
            for name, value in re.findall(r'(TEXTINV_\w+)\s*=\s*(-?\d+)', body):
                self.constants[name] = int(value)
        for match in re.finditer(r'typedef (\w+) \(\*(\w+)\)\((.*?)\);|typedef struct (\w+) \{(.*?)\} \w+;', text,
                                 flags=re.S):
            if match[2]:
                result = None if match[1] == 'void' else self.types[match[1]]
                args = [self.type_of(a)[0] for a in match[3].split(',')]
                self.types[match[2]] = C.CFUNCTYPE(result, *args)
            else:
                self.structs[match[4]] = self.struct(match[4], match[5])
                self.types[match[4]] = self.structs[match[4]]
        for match in re.finditer(r'TEXTINV_API\s+(.*?)\b(textinv_\w+)\((.*?)\);', text, flags=re.S):
            result = self.type_of(match[1] + ' result')[0] if match[1].strip() != 'void' else None
            args = match[3].strip()
            self.functions[match[2]] = (result, [] if args == 'void' else [self.type_of(a)[0]
                                                                         for a in args.split(',')])

    def type_of(self, declaration):
        """(ctypes type, name) of "const float *x" or "uint32_t dim[2]"."""
        declaration = re.sub(r'\bconst\b', ' ', declaration)
        base, stars, name, count = re.fullmatch(r'\s*(\w+)\s*((?:\*\s*)*)(\w+)\s*(?:\[(\d+)\])?\s*',
                                                declaration).groups()
        depth = stars.count('*')
        if depth == 0:
            kind = self.types[base]
        elif base == 'char' and depth == 1:
            kind = C.c_char_p
        elif base in self.structs and depth == 1:
            kind = C.POINTER(self.structs[base])
        else:
            kind = C.c_void_p
        return (kind * int(count) if count else kind), name

    def struct(self, name, body):
        fields = [self.type_of(line)[::-1] for line in body.split(';') if line.strip()]
        return type(name, (C.Structure,), {'_fields_': fields})


_header = _Header()
globals().update(_header.constants)
structs = _header.structs


def check_layout():
    """Number of structs and fields whose size and offset agree with the C compiler's; raises otherwise."""
    lines = []
    for name, struct in structs.items():
        lines.append(f'printf("{name} . %zu\\n", sizeof({name}));')
        lines += [f'printf("{name} {f[0]} %zu\\n", offsetof({name}, {f[0]}));' for f in struct._fields_]
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, 'layout.c'), Path(folder, 'layout')
        source.write_text('#include <stdio.h>\n#include "textinv/textinv.h"\nint main(void)\n{\n'
                          + '\n'.join(lines) + '\nreturn 0;\n}\n')
        subprocess.run([os.environ.get('CC', 'cc'), f'-I{ROOT}/include', str(source), '-o', str(binary)], check=True)
        output = subprocess.run([str(binary)], check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        name, field, value = line.split()
        met = C.sizeof(structs[name]) if field == '.' else getattr(structs[name], field).offset
        if met != int(value):
            raise AssertionError(f'{name} {field}: {met} here, {value} in C')
    return len(structs), sum(len(s._fields_) for s in structs.values())


_library = None


def library():
    global _library
    if _library is None:
        _library = C.CDLL(os.environ.get('TEXTINV_LIBRARY', str(ROOT / 'lib/libtextinv.so')))
        for name, (result, args) in _header.functions.items():
            function = getattr(_library, name)
            function.restype, function.argtypes = result, args
    return _library


class Error(Exception):
    def __init__(self, status, message):
        self.status = status
        self.name = library().textinv_status_name(status).decode()
        super().__init__(f'{self.name}: {message}')


def _floats(array):
    return np.ascontiguousarray(array, dtype=np.float32)


def _pointer(array):
    return None if array is None else C.c_void_p(array.ctypes.data)


def _params(name, **values):
    """The struct textinv_NAME, its defaults, then values."""
    struct = structs['textinv_' + name]()
    status = getattr(library(), f'textinv_{name}_init')(C.byref(struct), C.sizeof(struct))
    if status < 0:
        raise Error(status, name)
    progress = values.pop('progress', None)
    if progress:
        struct.progress = type(struct.progress)(lambda _, p: int(progress(p[0]) or 0))
    for key, value in values.items():
        setattr(struct, key, value.encode() if isinstance(value, str) else value)
    return struct


class _Handle:
    kind = None

    def __init__(self):
        self.handle = C.c_void_p()

    def free(self):
        if self.handle:
            getattr(library(), f'textinv_{self.kind}_free')(self.handle)
            self.handle = C.c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.free()


class Session(_Handle):
    kind = 'session'

    def __init__(self, **params):
        super().__init__()
        status = library().textinv_session_new(C.byref(self.handle), C.byref(_params('session_params', **params)))
        if status < 0:
            raise Error(status, library().textinv_session_error(None).decode())

    def call(self, name, *args):
        """textinv_NAME; raises what the session says when it fails."""
        status = getattr(library(), 'textinv_' + name)(*args)
        if status < 0:
            raise Error(status, library().textinv_session_error(self.handle).decode())

    def peak_bytes(self):
        return library().textinv_session_peak_bytes(self.handle)

    # --- networks

    def encode_prompt(self, model, prompt, embeddings=None, clip_skip=0):
        """context [max_tokens, context_dim], pooled [pooled_dim] or None, tokens left out"""
        info = model.info
        context = np.empty((info.max_tokens, info.context_dim), np.float32)
        pooled = np.empty(info.pooled_dim, np.float32) if info.pooled_dim else None
        cut = C.c_size_t()
        self.call('encode_prompt', self.handle, _pointer(context), context.size, _pointer(pooled),
                  info.pooled_dim, C.addressof(cut), model.handle, embeddings and embeddings.handle, prompt.encode(),
                  clip_skip)
        return context, pooled, cut.value

    def encode_image(self, model, images, i=0):
        """mean and standard deviation of the latents, each [c, h, w]"""
        _, height, width, _ = images.shape
        scale = model.info.latent_scale
        shape = (model.info.latent_channels, height // scale, width // scale)
        mean, deviation = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.call('encode_image', self.handle, _pointer(mean), _pointer(deviation), mean.size, model.handle,
                  images.handle, i)
        return mean, deviation

    def predict_noise(self, model, latents, timestep, context, pooled=None, size_ids=None):
        latents, context = _floats(latents), _floats(context)
        pooled = None if pooled is None else _floats(pooled)
        size_ids = None if size_ids is None else _floats(size_ids)
        params = _params('predict_params', batch=latents.shape[0], height=latents.shape[2], width=latents.shape[3],
                         latents=_pointer(latents), timestep=timestep, context=_pointer(context),
                         pooled=_pointer(pooled), size_ids=_pointer(size_ids))
        out = np.empty_like(latents)
        self.call('predict_noise', self.handle, _pointer(out), out.size, model.handle, C.byref(params))
        return out

    def decode_latents(self, model, latents):
        """values [batch, 3, h, w], -1..1"""
        latents = _floats(latents)
        batch, _, height, width = latents.shape
        scale = model.info.latent_scale
        values = np.empty((batch, 3, height * scale, width * scale), np.float32)
        self.call('decode_latents', self.handle, None, _pointer(values), values.size, model.handle,
                  _pointer(latents), batch, width, height)
        return values

    # --- whole jobs

    def loss(self, model, embeddings, latents, noise, timesteps, prompts, gradient=True):
        """loss, gradient [num_values]"""
        latents, noise = _floats(latents), _floats(noise)
        steps = np.ascontiguousarray(timesteps, np.uint32)
        texts = (C.c_char_p * len(prompts))(*[p.encode() for p in prompts])
        params = _params('loss_params', batch=latents.shape[0], height=latents.shape[2], width=latents.shape[3],
                         latents=_pointer(latents), noise=_pointer(noise), timesteps=_pointer(steps),
                         prompts=C.cast(texts, C.c_void_p))
        loss = C.c_float()
        rows = np.empty(embeddings.num_values(), np.float32) if gradient else None
        self.call('loss', self.handle, C.addressof(loss), _pointer(rows), rows.size if gradient else 0,
                  model.handle, embeddings.handle, C.byref(params))
        return loss.value, rows

    def generate(self, model, prompt, embeddings=None, **params):
        """pictures [images, h, w, 3]"""
        init = params.pop('init_image', None)
        out = C.c_void_p()
        options = _params('generate_params', prompt=prompt, **params)
        if init is not None:
            options.init_image = init.handle
        self.call('generate', C.byref(out), self.handle, model.handle, embeddings and embeddings.handle,
                  C.byref(options))
        with Images.of(out) as images:
            return images.pixels()

    def invert(self, model, embeddings, concepts, **params):
        """Learn; concepts are dicts of textinv_concept's fields, pictures a list of Images."""
        keep, array = [], (structs['textinv_concept'] * len(concepts))()
        for i, concept in enumerate(concepts):
            concept = dict(concept)
            pictures, prompts = concept.pop('pictures', None), concept.pop('prompts', None)
            array[i] = _params('concept', **concept)
            if pictures is not None:
                handles = (C.c_void_p * len(pictures))(*[p.handle for p in pictures])
                array[i].pictures, array[i].num_pictures = C.cast(handles, C.c_void_p), len(pictures)
                keep.append(handles)
            if prompts is not None:
                texts = (C.c_char_p * len(prompts))(*[p.encode() for p in prompts])
                array[i].prompts, array[i].num_prompts = C.cast(texts, C.c_void_p), len(prompts)
                keep.append(texts)
        options = _params('invert_params', concepts=C.cast(array, C.POINTER(structs['textinv_concept'])),
                          num_concepts=len(concepts), **params)
        report = _params('invert_report')
        self.call('invert', self.handle, model.handle, embeddings.handle, C.byref(options), C.byref(report))
        return report


class Model(_Handle):
    kind = 'model'

    def __init__(self, session, path):
        super().__init__()
        session.call('model_open', C.byref(self.handle), session.handle, None if path is None else str(path).encode())
        self.info = _params('model_info')
        session.call('model_get_info', self.handle, C.byref(self.info))

    def tokenize(self, session, text, embeddings=None, encoder=0):
        tokenizer = library().textinv_model_tokenizer(self.handle, encoder)
        ids, count = np.empty(4096, np.uint32), C.c_size_t()
        session.call('tokenizer_encode', session.handle, _pointer(ids), ids.size, C.addressof(count), tokenizer,
                     embeddings and embeddings.handle, text.encode())
        return ids[:count.value].tolist()


class Embeddings(_Handle):
    kind = 'embeddings'

    def __init__(self, session):
        super().__init__()
        self.session = session
        session.call('embeddings_new', C.byref(self.handle), session.handle)

    def add(self, model, word, initializer=None, num_vectors=1, seed=0):
        self.session.call('embeddings_add', self.session.handle, self.handle, model.handle, word.encode(),
                          num_vectors, initializer and initializer.encode(), seed)

    def set(self, word, rows, encoder=0):
        rows = _floats(rows)
        self.session.call('embeddings_set', self.session.handle, self.handle, word.encode(), encoder, rows.shape[0],
                          rows.shape[1], _pointer(rows))

    def rows(self, word, encoder=0):
        name = word.encode()
        vectors = library().textinv_embeddings_vectors(self.handle, name)
        dim = library().textinv_embeddings_dim(self.handle, name, encoder)
        address = library().textinv_embeddings_rows(self.handle, name, encoder)
        data = (C.c_float * (vectors * dim)).from_address(address)
        return np.array(data, np.float32).reshape(vectors, dim)

    def num_values(self):
        return library().textinv_embeddings_num_values(self.handle)

    def save(self, path, format=0, word=None):
        self.session.call('embeddings_save', self.session.handle, self.handle, str(path).encode(), format,
                          word and word.encode())

    def load(self, path, model=None, word=None):
        self.session.call('embeddings_load', self.session.handle, self.handle, model and model.handle,
                          str(path).encode(), word and word.encode())


class Optimizer(_Handle):
    kind = 'optimizer'

    def __init__(self, session, embeddings, **params):
        super().__init__()
        self.session, self.embeddings = session, embeddings
        session.call('optimizer_new', C.byref(self.handle), session.handle, embeddings.handle,
                     C.byref(_params('optimizer_params', **params)))

    def step(self, gradient):
        gradient = _floats(gradient)
        self.session.call('optimizer_step', self.session.handle, self.handle, self.embeddings.handle,
                          _pointer(gradient), gradient.size)


class Images(_Handle):
    kind = 'images'

    def __init__(self, session, pixels):
        """pixels [count, h, w, 3], uint8"""
        super().__init__()
        pixels = np.ascontiguousarray(pixels, np.uint8)
        count, height, width, _ = pixels.shape
        session.call('images_new', C.byref(self.handle), session.handle, _pointer(pixels), count, width, height)
        self.shape = pixels.shape

    @classmethod
    def of(cls, handle):
        images = cls.__new__(cls)
        images.handle = handle
        lib = library()
        images.shape = (lib.textinv_images_count(handle), lib.textinv_images_height(handle),
                        lib.textinv_images_width(handle), 3)
        return images

    def pixels(self):
        count, height, width, _ = self.shape
        size = height * width * 3
        pictures = [np.frombuffer(C.string_at(library().textinv_images_pixels(self.handle, i), size), np.uint8)
                    for i in range(count)]
        return np.stack(pictures).reshape(self.shape)
