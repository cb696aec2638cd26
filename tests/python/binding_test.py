"""The binding on the tiny models of tests/golden; one line a check, "ok - ..." or "FAIL - ...". binding_test.py plain|numpy"""
import contextlib
import copy as shallow
import ctypes as C
import gc
import io
import json
import math
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

if sys.argv[1:] != ['numpy']:
    sys.modules['numpy'] = None  # as if it were not installed

import textinv

ROOT = Path(__file__).resolve().parents[2]
MODEL, CLIP = ROOT / 'tests/golden/tiny-sd', ROOT / 'tests/golden/tiny-clip'
failed = 0


def holds(what, condition, met=''):
    global failed
    print(f'{"ok" if condition else "FAIL"} - {what}' + ('' if condition else f': {met}'), flush=True)
    failed += not condition


def raises(what, kind, text, function, *arguments, **options):
    """The function raises an exception of that kind whose text has text; returns it."""
    try:
        function(*arguments, **options)
        met = None
    except BaseException as error:
        met = error
    holds(what, type(met) is kind and text in str(met), repr(met))
    return met


def check_layout():
    lines = []
    for name, kind in textinv.structs.items():
        lines.append(f'printf("{name} . %zu\\n", sizeof({name}));')
        lines += [f'printf("{name} {f[0]} %zu\\n", offsetof({name}, {f[0]}));' for f in kind._fields_]
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, 'layout.c'), Path(folder, 'layout')
        source.write_text('#include <stdio.h>\n#include "textinv/textinv.h"\nint main(void)\n{\n'
                          + '\n'.join(lines) + '\nreturn 0;\n}\n')
        include = Path(textinv.paths[1]).parents[1]
        subprocess.run([*os.environ.get('CC', 'cc').split(), f'-I{include}', str(source), '-o', str(binary)], check=True)
        output = subprocess.run([str(binary)], check=True, capture_output=True, text=True).stdout
    differ = []
    for line in output.splitlines():
        name, field, value = line.split()
        kind = textinv.structs[name]
        met = C.sizeof(kind) if field == '.' else getattr(kind, field).offset
        differ += [f'{name} {field}: {met}, {value} in C'] if met != int(value) else []
    holds(f'the C compiler lays {len(textinv.structs)} structs out likewise', len(textinv.structs) > 8 and not differ, differ)


def check_options(session):
    """Every option of the header can be set."""
    values = {'char*': 'x', 'char**': ['x', 'y'], 'float': 0.5, 'float*': textinv._empty(2), 'uint32_t*': textinv._empty(2),
              'void*': 0, 'textinv_images*': textinv.Images(session, memoryview(bytes(12)).cast('B', [2, 2, 3])),
              'textinv_log_fn': print, 'textinv_progress_fn': print, 'textinv_preview_fn': print, 'textinv_concept*': [],
              'textinv_all_reduce_fn': print, 'textinv_parallel*': []}
    values['textinv_images**'] = [values['textinv_images*']]
    refused = []
    for name, kind in textinv.structs.items():
        name = name.replace('textinv_', '')
        if not name.endswith('_params') and name not in ('concept', 'parallel'):
            continue
        for field, _ in kind._fields_[1:]:
            declared = textinv._header.declarations['textinv_' + name, field]
            try:
                session._params(name, {field: values.get(declared, 1)})
            except Exception as error:
                refused.append(f'{name} {field}: {error}')
    holds('every option of every struct is a keyword', not refused, refused)
    params = session._params('generate_params', dict(sampler='DPMPP-2M', rng='native', prompt='ä', seed=2 ** 64 - 1))
    holds('constants are words', (params.sampler, params.rng) == (textinv.TEXTINV_SAMPLER_DPMPP_2M, textinv.TEXTINV_RNG_NATIVE))
    holds('text is UTF-8', params.prompt == 'ä'.encode())
    holds('all 64 bits of a seed', params.seed == 2 ** 64 - 1)


def check_errors(session, model, images):
    generate = session.generate
    error = raises('an error has the library\'s words', textinv.Error, 'TEXTINV_E_INVALID: steps is 0; 1 to 1000', generate,
                   model, 'a', steps=0)
    holds('and its status', (error.status, error.name) == (textinv.TEXTINV_E_INVALID, 'TEXTINV_E_INVALID'), error)
    raises('no model', textinv.Error, '/nowhere', session.open_model, '/nowhere')
    raises('no folder of pictures', textinv.Error, '/nowhere', session.invert, model, images='/nowhere', placeholder='<x>')
    raises('no session', textinv.Error, 'TEXTINV_E_BACKEND', textinv.Session, backend='cuda', backend_path='/nowhere')
    raises('an unknown option', TypeError, 'stpes: no such option; did you mean steps?', generate, model, 'a', stpes=3)
    raises('an unknown word', ValueError, "sampler: 'x' is no sampler; there are default, ddim,", generate, model, 'a',
           sampler='x')
    raises('a negative number', ValueError, 'steps: -1 is out of range', generate, model, 'a', steps=-1)
    raises('a number with a fraction', TypeError, 'steps: ', generate, model, 'a', steps=1.5)
    raises('a number too large', ValueError, 'seed: ', generate, model, 'a', seed=2 ** 64)
    raises('text for a number', TypeError, 'steps: ', generate, model, 'a', steps='x')
    raises('a number for text', TypeError, 'placeholder: ', session.invert, model, images=images, placeholder=3)
    raises('a zero byte', ValueError, 'zero byte', generate, model, 'a\0b')
    raises('words for a model', TypeError, 'Embeddings in place of Model', generate, textinv.Embeddings(session), 'a')
    raises('a path for a model', TypeError, 'str in place of Model', generate, 'model', 'a')
    raises('a model for a path', TypeError, 'not Model', session.load, model)
    raises('a buffer for a number', TypeError, 'an array [1] in place of a number', generate, model, 'a', seed=memoryview(b'5'))
    raises('no words', KeyError, '<x>', textinv.Embeddings(session).rows, '<x>')
    raises('no picture', IndexError, 'picture 1 of 1', images.pixels, 1)
    raises('no tokenizer', IndexError, 'encoder 5 of 1', model.tokenizer, session, 5)
    raises('a picture that 32 bits would cut to the first', IndexError, f'picture {2 ** 32} of 1', images.pixels, 2 ** 32)
    raises('a tokenizer likewise', IndexError, f'encoder {2 ** 32} of 1', model.tokenizer, session, 2 ** 32)
    raises('pixels of another shape', ValueError, '[12]', textinv.Images, session, bytes(12))


def check_words(session, model, folder, images):
    seen, learnt = [], {}
    words = session.invert(model, images=str(folder / 'photos'), placeholder='<toy>', initializer='a cat', num_vectors=0,
                           steps=4, batch=2, flip=0, lr_schedule='cosine', prompts=['a photo of {}'], progress=seen.append)
    holds('invert reports', (words.report.steps, words.report.num_pictures) == (4, 2), words.report)
    holds('progress', [(p.phase, p.step) for p in seen][-2:] == [('train', 3), ('train', 4)] and seen[-1].loss > 0, seen)
    learnt['folder'] = words.rows('<toy>').tolist()
    holds('num_vectors=0 takes as many as the initializer has', len(learnt['folder']) == 2, learnt['folder'])
    files = sorted((folder / 'photos').iterdir())
    for what, pictures in {'files': (str(p) for p in files), 'Images': [session.read_image(p) for p in files],
                           'arrays': [pixels(session.read_image(p)) for p in files]}.items():
        other = session.invert(model, concepts=[dict(placeholder='<toy>', initializer='a cat', num_vectors=0, images=pictures,
                                                     prompts=('a photo of {}',))],
                               steps=4, batch=2, flip=0, lr_schedule='cosine')
        learnt[what] = other.rows('<toy>').tolist()
    holds('a folder, files and pictures in memory give the same', all(rows == learnt['folder'] for rows in learnt.values()), learnt)
    picture = session.read_image(files[0])
    one, *others = (session.invert(model, images=i, placeholder='<x>', initializer='cat', steps=1).rows('<x>').tolist()
                    for i in (files[0], [files[0]], picture, files[0].read_bytes(), pixels(picture)))
    holds('a single picture', others == [one] * 4, others)

    holds('a set of words is a collection', (len(words), [*words], '<toy>' in words, '<x>' in words) == (1, ['<toy>'], True, False))
    words.save(folder / 'toy.safetensors')
    with session.load(folder / 'toy.safetensors', model=model) as loaded:
        holds('what was saved is loaded', loaded.rows('<toy>').tolist() == learnt['folder'])
        holds('and says how it was made', loaded.metadata().get('step') == '4', loaded.metadata())
    words.save(folder / 'toy.pt', format='a1111')
    data = words.to_bytes()
    other = textinv.Embeddings(session)
    other.load(data, model)
    holds('words in memory', data == (folder / 'toy.safetensors').read_bytes() and other.rows('<toy>').tolist() == learnt['folder'])
    raises('bytes that are no words', textinv.Error, ': upload: ', other.load, b'x' * 99, name='upload')
    head = json.dumps({'__metadata__': {'layout': 'its own'}, '<odd>': dict(dtype='F32', shape=[1], data_offsets=[0, 4])})
    other.load(struct.pack('<Q', len(head)) + head.encode() + bytes(4))
    holds('a file with a "layout" of its own', other.metadata() == {'layout': 'diffusers'}, other.metadata())
    holds('another format', session.load(folder / 'toy.pt').metadata()['layout'] == 'a1111')
    holds('file_kind', [session.file_kind(folder / name) for name in ('toy.pt', 'photos/0.png')] == ['embedding', 'image'])
    raises('a format that is none', ValueError, "'x' is no format", words.save, folder / 'x', format='x')
    words.set('<new>', [[0.5] * model.info.embedding_dim[0]])
    words.add(model, '<other>', 'cat')
    words.remove('<other>')
    holds('set and remove', [*words] == ['<toy>', '<new>'] and words.rows('<new>').tolist()[0][:2] == [0.5, 0.5])
    copy = words.copy()
    copy.rename('<new>', '<renamed>')
    holds('a copy is a set of its own', ([*words], [*copy]) == (['<toy>', '<new>'], ['<toy>', '<renamed>']), [*copy])
    holds('of the same vectors', copy.rows('<renamed>').tolist() == words.rows('<new>').tolist())
    copy.copy_from(words, '<new>')
    holds('and of words of another one', [*copy] == ['<toy>', '<renamed>', '<new>'], [*copy])
    raises('which it does not have', textinv.Error, 'was added already', copy.copy_from, words)
    holds('module copy makes one, too', [*shallow.copy(words)] == [*shallow.deepcopy(words)] == [*words])
    raises('module copy and a model', TypeError, 'the model cannot be copied', shallow.copy, model)
    holds('repr tells the words', repr(copy) == "<textinv.Embeddings ['<toy>', '<renamed>', '<new>']>", repr(copy))
    with textinv.Session(threads=1) as other_session:
        kept = []
        session.invert(model, copy, images=images, placeholder='<new>', steps=2, flip=0,
                       progress=lambda p: p.phase == 'train' and kept.append(copy.copy(other_session).rows('<new>').tolist()))
        holds('a callback keeps what is learnt so far', len(kept) == 2 and kept[0] != kept[1] == copy.rows('<new>').tolist())
    copy.close()
    holds('or that it is closed', repr(copy) == '<textinv.Embeddings (closed)>', repr(copy))
    holds('a word trained on', session.invert(model, words, images=images, placeholder='<new>', steps=1) is words)
    ids = model.tokenizer(session).encode('a <toy>', words)
    holds('a tokenizer knows them', len(ids) == 5 and ids[2:4] == [len(model.tokenizer(session)) + i for i in (0, 1)], ids)
    holds('and its own', model.tokenizer(session).token(ids[1]) == 'a</w>', ids)
    holds('and no others', [model.tokenizer(session).token(i) for i in (-1, ids[2], 2 ** 32)] == [None] * 3)
    return words


def check_pictures(session, model, folder, words):
    images = session.generate(model, 'a photo of <toy>', words, images=2, seed=5, steps=2, sampler='ddim')
    side = model.info.size
    holds('pictures', images.shape == (2, side, side, 3) and len(images) == 2 and images.seed(1) == 6, images.shape)
    holds('their parameters', 'Sampler: DDIM' in images.parameters(1), images.parameters(1))
    images.save(folder / 'a.png', 1)
    back = session.read_image(folder / 'a.png')
    holds('what was saved is read', back.pixels() == images.pixels(1) and back.parameters() == images.parameters(1))
    holds('one by one', [bytes(p) for p in images] == [bytes(images[0]), bytes(images[-1])] == [images.pixels(0), images.pixels(1)])
    holds('as arrays', [tuple(p.shape) for p in images] == [images.shape[1:]] * 2)
    raises('behind the last one', IndexError, 'picture 2 of 2', lambda: images[2])
    holds('repr tells the size', repr(images) == f'<textinv.Images 2 of {side} x {side}>', repr(images))
    holds('a notebook shows both', images._repr_html_().count('<img src="data:image/png;base64,') == 2)
    data = images.to_bytes(1)
    holds('a picture in memory', data == (folder / 'a.png').read_bytes() and session.read_image(data).pixels() == images.pixels(1))
    copy = textinv.Images(session, memoryview(images.pixels()).cast('B', [side, side, 3]))
    holds('pictures of pixels', copy.pixels() == images.pixels())
    copy.resize(4, 6)
    holds('resized', copy.shape == (1, 6, 4, 3))
    drawn = session.generate(model, 'a', init_image=folder / 'a.png', strength=0.5, steps=2)
    first = session.read_image(folder / 'a.png')
    for what, picture in {'Images': first, 'an array': pixels(first)}.items():
        holds('init_image is a file or ' + what, drawn.pixels() == session.generate(
            model, 'a', init_image=picture, strength=0.5, steps=2).pixels())
    black = textinv.Images(session, memoryview(bytes(3)).cast('B', [1, 1, 3]))
    masked = session.generate(model, 'a', init_image=first, mask=black, keep_pixels=True, steps=2, width=side, height=side)
    holds('a mask of black keeps the pixels', masked.pixels() == first.pixels())
    for what, mask in {'bytes of grey': memoryview(bytes(side * side)).cast('B', [side, side]),
                       'truth values': memoryview(bytes(side * side)).cast('?', [side, side])}.items():
        masked = session.generate(model, 'a', init_image=first, mask=mask, keep_pixels=True, steps=2)
        holds('a mask of ' + what, masked.pixels() == first.pixels())
    white = textinv.Images(session, memoryview(b'\1').cast('?', [1, 1]))
    holds('True is white', white.pixels() == b'\xff' * 3, white.pixels())
    raises('an array that is no picture', ValueError, 'init_image: pixels: bytes [count, height, width, 3] are expected',
           session.generate, model, 'a', init_image=textinv._empty(2, 3))
    raises('two pictures in place of one', TypeError, 'init_image: ', session.generate, model, 'a', init_image=[first] * 2)
    previews = []
    session.invert(model, images=[folder / 'a.png'], placeholder='<x>', steps=2, preview_prompt='a <x>',
                   preview_every=1, preview_steps=1, preview_images=2,
                   preview=lambda step, pictures: previews.append((step, pictures.shape, pictures.pixels(), pictures)))
    holds('previews', [p[:2] for p in previews] == [(1, (2, side, side, 3)), (2, (2, side, side, 3))], previews)
    seen = []
    watched = session.generate(model, 'a photo of <toy>', words, images=2, seed=5, steps=3, sampler='ddim', preview_every=1,
                               preview=lambda step, pictures: seen.append((step, len(pictures), pictures.seed(1), pictures.pixels())))
    holds('previews of what is drawn', [p[:3] for p in seen] == [(1, 2, 6), (2, 2, 6)] and seen[0][3] != seen[1][3], seen)
    raises('preview_every alone', textinv.Error, 'preview_every is 1 without preview', session.generate, model, 'a', preview_every=1)
    holds('latents of a file', list(session.encode_image(model, folder / 'a.png')[0].shape)[1:] == [side // model.info.latent_scale] * 2)
    mean, _ = session.encode_image(model, folder / 'a.png')
    latents = textinv._array([mean.tolist()])
    decoded, values = session.decode_latents(model, latents, images=True), session.decode_latents(model, latents)
    holds('decoded to Images', decoded.shape == (1, side, side, 3) and list(values.shape) == [1, 3, side, side])
    holds('of the same values', abs(
        decoded.pixels()[0] - 127.5 - 127.5 * min(max(values.tolist()[0][0][0][0], -1), 1)) < 1)
    raises('a preview after its callback', ValueError, 'the images is closed', previews[0][3].pixels)


def check_steps(session, model, words):
    """A loop of one's own: the loss falls, and what is saved is read."""
    info, draw = model.info, random.Random(1)
    side = info.size // info.latent_scale
    shape = (1, info.latent_channels, side, side)

    def samples():
        flat = textinv._array([draw.gauss(0, 1) for _ in range(math.prod(shape))])
        return flat.reshape(shape) if textinv.numpy else flat.cast('B').cast('f', shape)

    latents, noise = samples(), samples()
    context, pooled, cut = session.encode_prompt(model, 'a <toy> ' * 60, words)
    holds('context of a prompt', tuple(context.shape) == (info.max_tokens, info.context_dim) and pooled is None and cut > 0)
    out = session.predict_noise(model, latents, 500, [context.tolist()])
    holds('noise', tuple(out.shape) == shape and all(map(math.isfinite, bytes_to_floats(out))))
    with textinv.Model(session, ROOT / 'tests/golden/tiny-inpaint') as inpaint:
        x = [[[[0.5] * 8] * 8] * 4]
        holds('a model made for inpainting', inpaint.info.needs_mask == 1 and info.needs_mask == 0)
        text = [session.encode_prompt(inpaint, 'a')[0].tolist()]
        outs = [session.predict_noise(inpaint, x, 500, text, mask=[[[[m] * 8] * 8]], masked=x) for m in (0, 1)]
        holds('noise with a mask', bytes_to_floats(outs[0]) != bytes_to_floats(outs[1]))
        raises('no mask', textinv.Error, 'mask is NULL', session.predict_noise, inpaint, x, 500, text)
    holds('pictures of latents', tuple(session.decode_latents(model, latents).shape) == (1, 3, info.size, info.size))
    mean, _ = session.encode_image(model, session.generate(model, 'a', steps=1))
    holds('latents of a picture', tuple(mean.shape) == shape[1:])
    alphas = model.alphas_cumprod().tolist()
    holds('the schedule falls', len(alphas) == info.train_timesteps and alphas == sorted(alphas, reverse=True))

    single = textinv.Embeddings(session)
    single.add(model, '<one>', 'cat')
    losses = []
    with textinv.Optimizer(session, single, learning_rate=0.01) as optimizer:
        for _ in range(5):
            loss, gradient = session.loss(model, single, latents, noise, [500], ['a <one>'])
            losses.append(loss)
            optimizer.step(gradient)
        holds('the loss falls', losses[-1] < losses[0], losses)
        with tempfile.TemporaryDirectory() as folder:
            optimizer.save(Path(folder, 'checkpoint'))
            other = textinv.Embeddings(session)
            again = textinv.Optimizer.load(session, other, Path(folder, 'checkpoint'))
            holds('a checkpoint is read', again.steps() == 5 and other.rows('<one>').tolist() == single.rows('<one>').tolist())
            raises('a rate that is none', textinv.Error, 'TEXTINV_E_INVALID', again.set_learning_rate, -1)
    loss, none = session.loss(model, textinv.Embeddings(session), latents, noise, [500], ['a'])
    holds('no gradient without words', loss > 0 and none is None, none)
    raises('a timestep with a fraction', TypeError, 'float', session.loss, model, single, latents, noise, [5.7], ['a'])
    raises('noise of another shape', ValueError, 'is expected', session.loss, model, single, latents, [[[[0.0]]]], [1], ['a'])
    raises('prompts too few', ValueError, '0 prompts for 1 samples', session.loss, model, single, latents, noise, [1], [])
    raises('a context of another shape', ValueError, '[1, 2]', session.predict_noise, model, latents, 1, [[1, 2]])
    raises('nested lists of several lengths', ValueError, '', other.set, '<r>', [[1, 2], [3], [4, 5, 6]])
    raises('a list without numbers', ValueError if textinv.numpy else TypeError, '', other.set, '<r>', [])
    if textinv.numpy:
        holds('arrays of numpy', all(isinstance(a, textinv.numpy.ndarray) for a in (context, gradient, single.rows('<one>'))))
        pictures = textinv.numpy.arange(24, dtype='u1').reshape(1, 4, 2, 3)
        number, draw = textinv.numpy.array, lambda **options: session.generate(model, 'a', steps=1, **options).pixels()
        holds('numbers of numpy', draw(seed=number(5), guidance_scale=number(3.5)) == draw(seed=5, guidance_scale=3.5))
        raises('an array for a seed', TypeError, 'seed: an array [1] in place of a number', draw, seed=number([5]))
        raises('an array for a timestep', TypeError, 'timestep: an array [1] in place', session.predict_noise, model, latents,
               number([500]), [context])
        holds('pictures of numpy', (textinv.numpy.asarray(textinv.Images(session, pictures)) == pictures).all())


def check_scores(session, folder):
    clip, photos = session.open_clip(CLIP), [folder / f'photos/{i}.png' for i in range(2)]
    images = [session.clip_encode_image(clip, photo).tolist() for photo in photos]
    text, cut = session.clip_encode_text(clip, 'a cat')
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))  # noqa: E731
    near = lambda a, b: abs(a - b) < 1e-5  # noqa: E731
    holds('embeddings have unit length', clip.dim == 12 and all(near(dot(e, e), 1) for e in [*images, text.tolist()]) and
          cut == 0, images)
    met, steps = session.evaluate(clip, photos, photos[0], 'a <x> cat', placeholders='<x>'), []
    expected = [[dot(e, images[0]), dot(e, text.tolist())] for e in images]
    holds('similarities of every picture', all(near(a, b) for x, y in zip(met.each.tolist(), expected) for a, b in zip(x, y)),
          met)
    holds('and their means', near(met.image_similarity, (expected[0][0] + expected[1][0]) / 2) and
          near(met.text_similarity, (expected[0][1] + expected[1][1]) / 2) and
          (met.num_pictures, met.num_references) == (2, 1), met)
    both = textinv.Images(session, memoryview(b''.join(session.read_image(p).pixels() for p in photos)).cast(
        'B', [2, *session.read_image(photos[0]).shape[1:]]))
    again = session.evaluate(clip, both, prompts='a cat', progress=lambda p: steps.append((p.phase, p.step, p.steps)))
    holds('two pictures of one handle', [b for _, b in again.each.tolist()] == [b for _, b in met.each.tolist()], again)
    holds('progress of an evaluation', steps == [('evaluate', 1, 2), ('evaluate', 2, 2)], steps)
    holds('sizes of a CLIP model', (clip.info.size, clip.info.patch, clip.info.dim) == (32, 8, clip.dim) and
          session.file_kind(CLIP) == 'clip', clip.info)
    folders = session.evaluate(clip, str(folder / 'photos'), folder / 'photos')
    holds('folders of pictures', (folders.num_pictures, folders.num_references) == (2, 2), folders)
    raises('no pictures to score', textinv.Error, 'there are no pictures', session.evaluate, clip, [], prompts='a')
    raises('nothing to compare with', textinv.Error, 'neither references nor prompts', session.evaluate, clip, photos)
    raises('a folder that is no CLIP model', textinv.Error, 'TEXTINV_E_NOT_FOUND', session.open_clip, MODEL)
    clip.close()
    raises('a closed CLIP model', ValueError, 'the clip is closed', session.clip_encode_text, clip, 'a')


def check_parallel(session, model, folder):
    """Two processes, which are threads here."""
    run = dict(images=folder / 'photos', placeholder='<toy>', initializer='cat', steps=4, seed=3)

    def stop():
        raise Stop('enough')

    def together(watch, before=lambda call: None):
        """what becomes of both; watch(step) and before(call of all_reduce) act in the second"""
        barrier, parts, calls, outcomes = threading.Barrier(2, timeout=60), [None] * 2, [0, 0], [None] * 2

        def work(rank):
            def all_reduce(values):
                calls[rank] += 1
                if rank:
                    try:
                        before(calls[1])
                    except Stop:
                        barrier.abort()
                        raise
                parts[rank] = [float(value) for value in values]
                barrier.wait()
                for i, pair in enumerate(zip(*parts)):
                    values[i] = sum(pair)
                barrier.wait()

            try:
                with textinv.Session(threads=1) as own:
                    words = textinv.Embeddings(own)
                    outcomes[rank] = own.invert(
                        model, words, batch=1, parallel=dict(rank=rank, ranks=2, all_reduce=all_reduce),
                        progress=lambda p: rank and p.phase == 'train' and watch(p.step), **run).rows('<toy>').tolist()
            except BaseException as error:
                outcomes[rank] = error

        threads = [threading.Thread(target=work, args=[rank]) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    first, second = together(lambda step: None)
    one = session.invert(model, batch=2, **run).rows('<toy>').tolist()
    holds('two processes learn the same', first == second, (first, second))
    holds('and what one learns', isinstance(first, list) and
          all(abs(a - b) < 1e-5 for a, b in zip(first[0], one[0])), (first, one))
    first, second = together(lambda step: stop() if step == 2 else None)
    holds('what one raises stops the other, too', type(second) is Stop and type(first) is textinv.Cancelled
          and 'rank 1 of 2 stopped at step 2 of 4' in str(first), (first, second))
    first, second = together(lambda step: None, lambda call: stop() if call == 4 else None)
    holds('what all_reduce raises', type(second) is Stop and type(first) is threading.BrokenBarrierError, (first, second))


def pixels(images):
    """as an array"""
    return textinv.numpy.asarray(images)[0] if textinv.numpy else memoryview(images.pixels()).cast('B', images.shape[1:])


def bytes_to_floats(values):
    data = values.tobytes()
    return struct.unpack(f'{len(data) // 4}f', data)


class Stop(Exception):
    """what the callbacks below raise"""


def check_interruptions(session, model, folder, images):
    run = dict(images=images, placeholder='<toy>', initializer='cat', batch=1, seed=3)
    unraisable = []
    sys.unraisablehook = unraisable.append

    def stop_at(step, action):
        return lambda p: action() if (p.phase, p.step) == ('train', step) else None

    def stop():
        raise Stop('enough')

    words = textinv.Embeddings(session)
    error = raises('what progress raises is raised from the call', Stop, 'enough', session.invert, model, words, steps=1000,
                   progress=stop_at(5, stop), **run)
    holds('with its traceback', 'raise Stop' in ''.join(traceback.format_exception(type(error), error, error.__traceback__)))
    holds('the rows are those of that step', words.report.steps == 5 and words.rows('<toy>').tolist()
          == session.invert(model, steps=5, **run).rows('<toy>').tolist(), words.report)
    raises('progress of generate', Stop, 'enough', session.generate, model, 'a', steps=50, progress=lambda p: stop())
    raises('what preview raises', Stop, 'enough', session.invert, model, steps=1000, preview_prompt='a', preview_every=2,
           preview_steps=1, preview=lambda *_: stop(), **run)
    raises('a call inside of a preview', Stop, 'inside', session.invert, model, steps=4, preview_prompt='a', preview_every=2,
           preview_steps=1, preview=lambda step, pictures: raise_from(pictures.save, folder / 'none/a.png'), **run)
    lines = []
    with textinv.Session(threads=1, log=lambda *line: lines.append(line)) as logged:
        other = logged.open_model(MODEL)
        textinv.Embeddings(logged).add(other, '<w>', 'a cat')
        holds('lines of the log', lines and lines[0][0] == 'warning' and 'a cat' in lines[0][1], lines)
    with textinv.Session(threads=1, log=lambda *_: stop()) as logged:
        raises('what log raises', Stop, 'enough', textinv.Embeddings(logged).add, other, '<w>', 'a cat')
    holds('without a session the model lives on', session.generate(other, 'a', steps=1).shape[0] == 1)

    raises('cancel() in a callback', textinv.Cancelled, 'cancelled at step 3 of 1000', session.invert, model, steps=1000,
           progress=stop_at(3, session.cancel), **run)
    session.cancel()
    session.clear_cancel()
    holds('a cancel() that came too late', session.generate(model, 'a', steps=1).shape[0] == 1)
    began, outcome = threading.Event(), []

    def work():
        try:
            session.invert(model, steps=10 ** 6, progress=lambda p: began.set(), **run)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    session.cancel()
    thread.join()
    holds('cancel() from another thread', len(outcome) == 1 and type(outcome[0]) is textinv.Cancelled, outcome)

    def serve(function, *arguments):
        return lambda *_: began.set() or function(*arguments)

    busy = RuntimeError, 'in a call already'
    for what, function in {'generate()': lambda: session.generate(model, 'a'), 'close()': session.close,
                           'peak_bytes()': session.peak_bytes, 'clear_cancel()': session.clear_cancel,
                           'images.save()': lambda: images.save(folder / 'b.png')}.items():
        raises(what + ' in a callback', *busy, session.generate, model, 'a', progress=serve(function))
    held = RuntimeError, 'is used by a call'
    clip, words, mask = session.open_clip(CLIP), session.load(), session.read_image(images.to_bytes())
    for handle in model, words, images, mask:
        raises(f'close() of the {handle.kind} of a running generate()', *held, session.generate, model, 'a', words,
               init_image=images, mask=mask, progress=serve(handle.close))
    for handle in clip, images, mask:
        raises(f'close() of the {handle.kind} of a running evaluate()', *held, session.evaluate, clip, [images],
               references=[mask], progress=serve(handle.close))
    for handle in model, words, images:
        raises(f'close() of the {handle.kind} of a running invert()', *held, session.invert, model, words, steps=1,
               progress=serve(handle.close), **{**run, 'images': [images]})
    clip.close(), words.close(), mask.close()
    raises('afterwards they can be closed', ValueError, 'the images is closed', len, mask)
    raises('generate() in a preview', *busy, session.invert, model, steps=1, preview_prompt='a', preview_every=1,
           preview_steps=1, preview=serve(session.generate, model, 'a'), **run)
    began.clear()
    thread, goes_on, drawn = threading.Thread(target=lambda: drawn.append(session.invert(
        model, steps=2, preview_prompt='a', preview_every=2, preview_steps=1, preview=serve(lambda: goes_on.wait()),
        **run).rows('<toy>').tolist())), threading.Event(), []
    thread.start()
    began.wait()
    raises('generate() while another thread is in a call', *busy, session.generate, model, 'a')
    raises('images.save() while another is in a preview', *busy, images.save, folder / 'b.png')
    raises('close() of a model while another thread is in a call with it', *held, model.close)
    raises('close() while another thread is in a call', *busy, session.close)
    goes_on.set()
    thread.join()
    holds('the other thread\'s call goes on', drawn == [session.invert(model, steps=2, **run).rows('<toy>').tolist()], drawn)

    # Ctrl-C; a process in the background of a shell ignores it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    (folder / 'work').mkdir()
    raises('Ctrl-C in a callback', KeyboardInterrupt, '', session.invert, model, steps=1000, output_dir=folder / 'work',
           progress=stop_at(6, interrupt), **run)
    session.invert(model, words := textinv.Embeddings(session), steps=12, output_dir=folder / 'work', resume='latest', **run)
    holds('it left a checkpoint to go on from', words.report.first_step in (6, 7), words.report)
    holds('and the end is the same', words.rows('<toy>').tolist() == session.invert(model, steps=12, **run).rows('<toy>').tolist())
    raises('Ctrl-C in generate', KeyboardInterrupt, '', session.generate, model, 'a', steps=900, progress=lambda p: interrupt())
    outcomes = []
    for i in range(30):  # at any moment
        try:
            timer = threading.Timer(random.uniform(0.02, 0.04), interrupt)
            timer.start()
            session.invert(model, steps=10 ** 6, progress=[None, print_nothing][i % 2], **run)
        except BaseException as error:
            outcomes.append(type(error))
        timer.join()
    holds('Ctrl-C while the library computes', outcomes == [KeyboardInterrupt] * 30, outcomes)
    holds('afterwards its handler is as before', signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    signal.signal(signal.SIGALRM, lambda *_: stop())
    raises('a signal of another kind', Stop, 'enough', session.invert, model, steps=10 ** 6,
           progress=stop_at(2, lambda: signal.setitimer(signal.ITIMER_REAL, 0.01)), **run)
    signal.signal(signal.SIGINT, before)
    holds('the session goes on', session.generate(model, 'a', steps=1).shape[0] == 1)
    sys.unraisablehook = sys.__unraisablehook__
    holds('nothing was lost in a callback', not unraisable, unraisable)


def print_nothing(progress):
    with contextlib.redirect_stdout(io.StringIO()):
        print(progress)


def raise_from(function, *arguments):
    """What the call raises becomes a Stop."""
    try:
        function(*arguments)
    except textinv.Error as error:
        raise Stop('inside') from error


def check_handles():
    freed = []

    def count(kind):
        function = getattr(textinv.lib, f'textinv_{kind}_free')
        setattr(textinv.lib, f'textinv_{kind}_free', lambda cell: freed.append(kind) or function(cell))

    for kind in ('session', 'model', 'embeddings', 'images'):
        count(kind)
    with textinv.Session(threads=1) as session:
        model = session.open_model(MODEL)
        with textinv.Embeddings(session) as words:
            words.add(model, '<x>')
        holds('freed at the end of a "with"', freed == ['embeddings'], freed)
        words.close()
        holds('and not twice', freed == ['embeddings'], freed)
        raises('a closed handle', ValueError, 'the embeddings is closed', len, words)
        session.generate(model, 'a', steps=1)
        holds('freed with the last reference', freed == ['embeddings', 'images'], freed)
        tokenizer = model.tokenizer(session)
        model.close()
        raises('a closed model', ValueError, 'the model is closed', session.generate, model, 'a')
        raises('its tokenizer', ValueError, 'the model is closed', tokenizer.encode, 'a')
    raises('a closed session', ValueError, 'the session is closed', session.open_model, MODEL)
    holds('each once', freed == ['embeddings', 'images', 'model', 'session'], freed)
    session = textinv.Session(threads=1, log=lambda *_: None)
    del session
    gc.collect()
    holds('a session with a log, too', freed.count('session') == 2, freed)


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if not textinv.numpy:
            check_handles()
            check_layout()
            holds('the version is that of the header', textinv.version() == '.'.join(
                line.split()[2] for line in (ROOT / 'include/textinv/version.h').read_text().splitlines()
                if line.startswith('#define TEXTINV_VERSION_') and not line.endswith('_H')), textinv.version())
            holds('devices', [d.usable for d in textinv.devices()] == [1] and textinv.devices()[0].units > 0, textinv.devices())
            raises('devices of a plug-in that is not there', textinv.Error, '/nowhere', textinv.devices, 'cuda', '/nowhere')
        with textinv.Session(threads=1) as session:
            model = session.open_model(MODEL)
            images = session.generate(model, 'a cat', steps=2)
            (folder / 'photos').mkdir()
            for i in range(2):
                session.generate(model, 'a cat', steps=2, seed=i).save(folder / f'photos/{i}.png')
            words = check_words(session, model, folder, images)
            check_steps(session, model, words)
            check_pictures(session, model, folder, words)
            check_scores(session, folder)
            check_parallel(session, model, folder)
            if not textinv.numpy:
                check_options(session)
                check_errors(session, model, images)
                check_interruptions(session, model, folder, images)
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
