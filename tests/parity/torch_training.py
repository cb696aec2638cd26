"""Textual inversion in PyTorch, plainly: diffusers' networks, autograd to the new rows alone.

Also the counter-based random numbers of libtextinv (src/diffusion/random.h) in numpy, so that both sides train on
the same draws.
"""
import numpy as np
import torch
import torch.nn.functional as F

import models
from check_networks import add_words


class RowEmbedding(torch.nn.Module):
    """A frozen table followed by rows that learn."""

    def __init__(self, table, size):
        super().__init__()
        self.register_buffer('table', table[:size].clone())
        self.rows = torch.nn.Parameter(table[size:].float().clone())
        self.size = size

    def forward(self, ids):
        out = F.embedding(ids.clamp(max=self.size - 1), self.table)
        new = F.embedding((ids - self.size).clamp(min=0), self.rows.to(out.dtype))
        return torch.where((ids >= self.size)[..., None], new, out)


class Reference:
    """Loss and gradient rows of a model with new words {name: [rows of each encoder]}."""

    def __init__(self, name, words, dtype=torch.float32):
        self.pipe = pipe = models.reference(name)
        self.xl = models.pipeline_class(name) is models.diffusers.StableDiffusionXLPipeline
        self.encoders = [pipe.text_encoder] + ([pipe.text_encoder_2] if self.xl else [])
        self.tokenizers = [pipe.tokenizer] + ([pipe.tokenizer_2] if self.xl else [])
        sizes = [len(t) for t in self.tokenizers]
        self.words = {w: len(rows[0]) for w, rows in words.items()}
        add_words(pipe, words)
        self.tables = []
        for encoder, size in zip(self.encoders, sizes):
            table = RowEmbedding(encoder.get_input_embeddings().weight.data, size)
            encoder.set_input_embeddings(table)
            self.tables.append(table)
        self.ids = [{w: [t.convert_tokens_to_ids(w if v == 0 else f'{w}_{v}') - size for v in range(k)]
                     for w, k in self.words.items()} for t, size in zip(self.tokenizers, sizes)]
        self.dtype = dtype
        for module in (pipe.unet, *self.encoders):
            for table in self.tables:
                table.rows.data = table.rows.data.float()
            module.to(dtype)
        for table in self.tables:
            table.rows.data = table.rows.data.float()
        self.size = pipe.vae_scale_factor
        self.alphas = pipe.scheduler.alphas_cumprod
        self.prediction = pipe.scheduler.config.prediction_type

    def rows(self):
        return [table.rows for table in self.tables]

    def flat(self, of_table):
        """[words, encoders, vectors, dim] of what of_table gives for an embedding, as libtextinv lays out a gradient"""
        parts = []
        for word in self.words:
            for ids, table in zip(self.ids, self.tables):
                value = of_table(table)
                parts.append((torch.zeros_like(table.rows) if value is None else value)[ids[word]].reshape(-1))
        return torch.cat(parts).detach().numpy().copy()

    def context(self, prompts):
        states, pooled = [], None
        for encoder, tokenizer in zip(self.encoders, self.tokenizers):
            texts = [self.pipe.maybe_convert_prompt(p, tokenizer) for p in prompts]
            ids = tokenizer(texts, padding='max_length', max_length=77, truncation=True, return_tensors='pt').input_ids
            out = encoder(ids, output_hidden_states=self.xl)
            states.append(out.hidden_states[-2] if self.xl else out.last_hidden_state)
            pooled = out.text_embeds if self.xl and encoder is self.encoders[-1] else None
        return torch.cat(states, -1), pooled

    def loss(self, latents, noise, timesteps, prompts):
        t = torch.as_tensor(np.asarray(timesteps, np.int64))
        a = self.alphas[t].reshape(-1, 1, 1, 1)
        noisy = a.sqrt() * latents + (1 - a).sqrt() * noise
        target = {'epsilon': noise, 'sample': latents,
                  'v_prediction': a.sqrt() * noise - (1 - a).sqrt() * latents}[self.prediction]
        context, pooled = self.context(prompts)
        added = None
        if self.xl:
            height, width = (s * self.size for s in latents.shape[2:])
            sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(prompts)).to(self.dtype)
            added = {'text_embeds': pooled, 'time_ids': sizes}
        out = self.pipe.unet(noisy.to(self.dtype), t, context, added_cond_kwargs=added).sample
        return F.mse_loss(out.float(), target)

    def gradient(self, *samples):
        """loss, flat gradient"""
        for table in self.tables:
            table.rows.grad = None
        loss = self.loss(*samples)
        loss.backward()
        return loss.item(), self.flat(lambda table: table.rows.grad)


# --- libtextinv's draws

NOISE, LATENT, TIMESTEP, PICTURE, PROMPT, FLIP, CROP = range(7)


def philox(seed, purpose, step, sample, blocks):
    """Philox4x32-10 of Salmon et al. 2011: [blocks, 4] words of 32 bits"""
    mask = np.uint64(0xffffffff)
    x = [np.arange(blocks, dtype=np.uint64)] + [np.full(blocks, v, np.uint64) for v in (step, purpose, sample)]
    k0, k1 = seed & 0xffffffff, seed >> 32
    for _ in range(10):
        a, b = x[0] * np.uint64(0xd2511f53), x[2] * np.uint64(0xcd9e8d57)
        x = [(b >> np.uint64(32)) ^ x[1] ^ np.uint64(k0), b & mask,
             (a >> np.uint64(32)) ^ x[3] ^ np.uint64(k1), a & mask]
        k0, k1 = (k0 + 0x9e3779b9) & 0xffffffff, (k1 + 0xbb67ae85) & 0xffffffff
    return np.stack(x, 1)


def draw_word(seed, purpose, step, sample, element=0):
    return int(philox(seed, purpose, step, sample, element // 4 + 1)[element // 4, element % 4])


def draw_below(n, *key):
    return draw_word(*key) * n >> 32


def draw_uniform(*key):
    return (draw_word(*key) >> 8) / 2 ** 24


def draw_normal(shape, *key):
    count = int(np.prod(shape))
    u = (philox(*key, (count + 3) // 4) >> np.uint64(8)).astype(np.float64) / 2 ** 24
    radius, angle = np.sqrt(-2 * np.log1p(-u[:, 0::2])), 2 * np.pi * u[:, 1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    return pairs.reshape(-1)[:count].reshape(shape).astype(np.float32)


# --- the loop

@torch.no_grad()
def moments(pipe, pixels):
    """mean and deviation of the scaled latents of pictures [n, h, w, 3]"""
    x = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    out, config = pipe.vae.encode(x).latent_dist, pipe.vae.config
    return out.mean * config.scaling_factor, out.std * config.scaling_factor


def invert(reference, pictures, prompts, seed, steps, batch, accumulate=1, flip=0.5, **adamw):
    """What textinv_invert() does with these pictures [n, h, w, 3] and prompts; losses of the steps"""
    pipe = reference.pipe
    views = [moments(pipe, pictures), moments(pipe, pictures[:, :, ::-1])]
    optimizer = torch.optim.AdamW(reference.rows(), **adamw)
    shape, losses = views[0][0].shape[1:], []
    for step in range(steps):
        optimizer.zero_grad()
        total = 0.0
        for part in range(accumulate):
            latents, noise, timesteps, texts = [], [], [], []
            for sample in range(part * batch, (part + 1) * batch):
                picture = draw_below(len(pictures), seed, PICTURE, step, sample)
                mean, deviation = views[draw_uniform(seed, FLIP, step, sample) < flip]
                texts.append(prompts[draw_below(len(prompts), seed, PROMPT, step, sample)])
                timesteps.append(draw_below(len(reference.alphas), seed, TIMESTEP, step, sample))
                fresh = torch.from_numpy(draw_normal(shape, seed, LATENT, step, sample))
                latents.append(mean[picture] + deviation[picture] * fresh)
                noise.append(torch.from_numpy(draw_normal(shape, seed, NOISE, step, sample)))
            loss = reference.loss(torch.stack(latents), torch.stack(noise), timesteps, texts) / accumulate
            loss.backward()
            total += loss.item()
        optimizer.step()
        losses.append(total)
    return losses
