"""What diffusers' textual inversion script does in a step, without its data loader."""
import torch


def script_step(text, unet, vae, alphas, pictures, ids, kind):
    """A call that takes one step: the VAE's encoder, the noise, the loss, the gradient and AdamW of the whole table, of
    which then all rows but the last are put back. pictures [n, 3, h, w] in [-1, 1]; ids [n, 77], of which the number of
    the table's rows is the new word; kind: the type of unet, vae and pictures; the text encoder computes in float, or
    under autocast where that is bf16."""
    n, device = len(pictures), pictures.device
    table = text.get_input_embeddings().weight.data
    new = torch.nn.Embedding(len(table) + 1, table.shape[1], device=device)
    new.weight.data.copy_(torch.cat([table, table[:1]]))
    text.float().set_input_embeddings(new)
    optimizer = torch.optim.AdamW(new.parameters(), lr=5e-3)
    before, keep = new.weight.data.clone(), torch.ones(len(new.weight), dtype=torch.bool, device=device)
    keep[-1] = False

    def step():
        with torch.no_grad():
            latents = vae.encode(pictures).latent_dist.sample() * vae.config.scaling_factor
        noise, when = torch.randn_like(latents), torch.randint(0, len(alphas), (n,), device=device)
        a = alphas[when].view(-1, 1, 1, 1)
        noisy = (a.sqrt() * latents + (1 - a).sqrt() * noise).to(kind)
        with torch.autocast(device.type, torch.bfloat16, enabled=kind is torch.bfloat16):
            context = text(ids).last_hidden_state.to(kind)
        out = unet(noisy, when, context).sample
        torch.nn.functional.mse_loss(out.float(), noise.float()).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            new.weight[keep] = before[keep]

    return step
