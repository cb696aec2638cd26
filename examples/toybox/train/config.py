"""The sizes of the toybox model, and its networks built from them."""

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPVisionConfig

TOKENS = 32   # the text encoder's length: every caption fits, and padding costs little

# What the small size is taught: shapes that can be told apart at 64 px. It sees some hundred
# thousand pictures; spread over every noun of the world they would leave none of them learnt.
FIRST_NOUNS = (
  "car bus truck plane bicycle motorbike scooter rocket sailing_boat house tower windmill tent "
  "tree palm_tree pine_tree christmas_tree bush plant flower flowers cactus mushroom pumpkin "
  "chair armchair sofa table desk bed bench stool bookcase lamp street_lamp fridge oven "
  "washing_machine coffee_machine toaster loudspeaker television laptop phone camera clock piano "
  "electric_guitar bathtub sink toilet trash_can vase teapot cup bottle bowl barrel box suitcase "
  "handbag umbrella hat shoes gift bell ball cake birthday_cake ice_cream robot toy_car "
  "toy_animal duck fish penguin dog cat horse rabbit chicken").split()
FIRST_NOUNS = [n.replace("_", " ") for n in FIRST_NOUNS]

SIZES = {
  # 64 px: trains on two CPU cores
  "first": dict(
    pixels=64, vae=(32, 64, 128), unet=(48, 96, 192), heads=(2, 3, 6), attention=(0, 1, 1),
    layers=1, text=192, text_layers=3, text_heads=3, vision=192, vision_layers=4, vision_patch=8, vocabulary=2560,
    nouns=FIRST_NOUNS),
  # 128 px: wants a GPU; in f16 the folder stays below 64 MB
  "shipped": dict(
    pixels=128, latent=12, vae=(32, 64, 96, 128), vae_layers=2, unet=(96, 160, 256), heads=(3, 5, 8),
    attention=(1, 1, 0), layers=2, middle=2, text=256, text_layers=4, text_heads=4,
    clip_text_layers=2, vision=192, vision_layers=4, vision_patch=16, vocabulary=2560),
  # a few seconds of everything: for trying the programs
  "tiny": dict(
    pixels=64, vae=(8, 16, 16), unet=(16, 32, 32), heads=(2, 2, 2), attention=(1, 1, 0), layers=1,
    text=32, text_layers=1, text_heads=2, vision=32, vision_layers=1, vision_patch=16, vocabulary=1024),
}

# what grow.py made the shipped size from, the last one first (docs/toybox.md): 16x16x4 blurs objects,
# each four channels more keep more of them; between came a second transformer block in the middle
# and a second layer in the autoencoder's blocks
SIZES["eight"] = dict(SIZES["shipped"], latent=8)
SIZES["shallow"] = dict(SIZES["eight"], vae_layers=1, middle=1)
SIZES["narrow"] = dict(SIZES["shallow"], latent=4)


def latent_side(size):
  return SIZES[size]["pixels"] >> (len(SIZES[size]["vae"]) - 1)


def latent_channels(size):
  return SIZES[size].get("latent", 4)


def build_vae(size):
  """f4 at 64 px, f8 at 128 px: 16x16 latents either way. No attention: the UNet has it"""
  channels = SIZES[size]["vae"]
  return AutoencoderKL(
    in_channels=3, out_channels=3, latent_channels=latent_channels(size),
    block_out_channels=channels,
    down_block_types=("DownEncoderBlock2D",) * len(channels),
    up_block_types=("UpDecoderBlock2D",) * len(channels),
    layers_per_block=SIZES[size].get("vae_layers", 1), norm_num_groups=8, mid_block_add_attention=False,
    sample_size=SIZES[size]["pixels"])


def build_unet(size):
  s = SIZES[size]
  return UNet2DConditionModel(
    sample_size=latent_side(size), in_channels=latent_channels(size),
    out_channels=latent_channels(size), layers_per_block=s["layers"],
    block_out_channels=s["unet"], cross_attention_dim=s["text"], attention_head_dim=s["heads"],
    norm_num_groups=16,
    transformer_layers_per_block=[1] * (len(s["unet"]) - 1) + [s.get("middle", 1)],
    down_block_types=["CrossAttnDownBlock2D" if on else "DownBlock2D" for on in s["attention"]],
    up_block_types=["CrossAttnUpBlock2D" if on else "UpBlock2D" for on in s["attention"][::-1]])


def text_config(size, tokenizer, layers=None):
  s = SIZES[size]
  return CLIPTextConfig(
    vocab_size=len(tokenizer), hidden_size=s["text"], intermediate_size=4 * s["text"],
    num_hidden_layers=layers or s["text_layers"], num_attention_heads=s["text_heads"],
    max_position_embeddings=TOKENS, hidden_act="quick_gelu", projection_dim=s["text"],
    bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    pad_token_id=tokenizer.pad_token_id)


def build_text(size, tokenizer):
  return CLIPTextModel(text_config(size, tokenizer))


def build_clip(size, tokenizer):
  """the scoring pair; its two towers load with CLIPVisionModelWithProjection and its like too"""
  s = SIZES[size]
  vision = CLIPVisionConfig(
    hidden_size=s["vision"], intermediate_size=4 * s["vision"], image_size=s["pixels"],
    num_hidden_layers=s["vision_layers"], num_attention_heads=max(1, s["vision"] // 64),
    patch_size=s["vision_patch"], hidden_act="quick_gelu", projection_dim=s["text"])
  return CLIPModel(CLIPConfig(
    text_config=text_config(size, tokenizer, s.get("clip_text_layers")).to_dict(),
    vision_config=vision.to_dict(), projection_dim=s["text"]))


def build_scheduler():
  """
  v-prediction with zero terminal SNR: plain grounds keep their exact brightness, and generation
  starts from what training saw at the last timestep
  """
  return DDIMScheduler(
    num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
    prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, steps_offset=1,
    timestep_spacing="trailing", rescale_betas_zero_snr=True)
