"""Learns <toy> from the pictures in the folder photos, and draws it in the snow. Ctrl-C stops it; a next run goes on."""
import textinv

with textinv.Session() as session:
    model = session.open_model()
    words = session.invert(model, images='photos', placeholder='<toy>', initializer='toy', steps=300,
                           output_dir='.', resume='latest', progress=lambda p: print(f'{p.phase} {p.step} of {p.steps}'))
    words.save('toy.safetensors')
    session.generate(model, 'a photo of <toy> in the snow', words).save('snow.png')
