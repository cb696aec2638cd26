/*
 * A plug-in for GIMP 2.10: Filters / Render / Textual Inversion... draws a prompt, in which learnt
 * words may stand, into a new layer. Where something is selected, that alone is drawn anew, to fit
 * into what is around it.
 *
 *   cc textinv_gimp.c $(pkg-config --cflags --libs gimpui-2.0 textinv) -lm -o textinv-gimp
 *   gimptool-2.0 --install-bin textinv-gimp
 *
 * From a script: (plug-in-textinv RUN-NONINTERACTIVE image layer prompt words model steps guidance
 * strength seed)
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <libgimp/gimp.h>
#include <libgimp/gimpui.h>

#include <textinv/textinv.h>

#define PROCEDURE "plug-in-textinv"

enum { TEXT = 4096 };

/* GIMP keeps them until the next call; paths may be "" */
typedef struct options {
  gchar prompt[TEXT];
  gchar words[TEXT]; /* an embedding, or a folder whose embeddings are all loaded */
  gchar model[TEXT]; /* a folder or file, or "" for the library's own */
  gint steps;
  gdouble guidance;
  gdouble strength; /* 1: what was there does not matter */
  gint seed;
} options;

typedef struct region {
  gint x, y, width, height; /* pixels of the image */
} region;

/* NULL, or why they are not taken */
static gchar *take_texts(options *o, const gchar *prompt, const gchar *words, const gchar *model)
{
  if (g_strlcpy(o->prompt, prompt, TEXT) < TEXT && g_strlcpy(o->words, words, TEXT) < TEXT &&
      g_strlcpy(o->model, model, TEXT) < TEXT)
    return NULL;
  return g_strdup_printf("a prompt or a path has over %d bytes", TEXT - 1);
}

/* --- drawing */

static int32_t tell(void *user, const textinv_progress *p)
{
  (void)user;
  gimp_progress_update((gdouble)p->step / p->steps);
  return 0;
}

static textinv_status load_words(textinv_session *session, textinv_embeddings *words,
                                 const textinv_model *model, const gchar *path)
{
  textinv_status status = TEXTINV_OK;
  textinv_kind kind;
  const gchar *name;
  GDir *folder;

  if (!*path)
    return TEXTINV_OK;
  folder = g_dir_open(path, 0, NULL);
  if (!folder)
    return textinv_embeddings_load(session, words, model, path, NULL);
  while (status >= 0 && (name = g_dir_read_name(folder))) {
    gchar *file = g_build_filename(path, name, NULL);

    if (g_file_test(file, G_FILE_TEST_IS_REGULAR) &&
        (status = textinv_file_kind(&kind, session, file)) >= 0 && kind == TEXTINV_KIND_EMBEDDING)
      status = textinv_embeddings_load(session, words, model, file, NULL);
    g_free(file);
  }
  g_dir_close(folder);
  return status;
}

/* what is selected and as much again around it, or the whole image; returns whether anything is */
static gboolean find_region(region *r, gint32 image)
{
  const gint width = gimp_image_width(image), height = gimp_image_height(image);
  gint x1, y1, x2, y2;
  gboolean selected;

  gimp_selection_bounds(image, &selected, &x1, &y1, &x2, &y2);
  if (selected) {
    const gint dx = (x2 - x1) / 2, dy = (y2 - y1) / 2;

    x1 = MAX(x1 - dx, 0), x2 = MIN(x2 + dx, width);
    y1 = MAX(y1 - dy, 0), y2 = MIN(y2 + dy, height);
  }
  *r = (region){ x1, y1, x2 - x1, y2 - y1 };
  return selected;
}

/* as many pixels as the model was trained for, in the region's shape */
static void find_size(gint *width, gint *height, const region *r, const textinv_model_info *info)
{
  const gdouble scale = info->size / sqrt((gdouble)r->width * r->height);
  const gint unit = (gint)info->latent_scale * 4;

  *width = MAX(unit, (gint)(r->width * scale / unit + 0.5) * unit);
  *height = MAX(unit, (gint)(r->height * scale / unit + 0.5) * unit);
}

/* all of a drawable, as RGB; of one channel all three are the same */
static textinv_status read_pixels(textinv_images **out, textinv_session *session, gint32 drawable)
{
  const gint width = gimp_drawable_width(drawable), height = gimp_drawable_height(drawable);
  const gboolean grey = gimp_item_is_channel(drawable);
  textinv_status status = textinv_images_new(out, session, NULL, 1, (uint32_t)width,
                                             (uint32_t)height);
  GeglBuffer *buffer;
  guchar *pixels;

  if (status < 0)
    return status;
  buffer = gimp_drawable_get_buffer(drawable);
  pixels = textinv_images_pixels(*out, 0);
  gegl_buffer_get(buffer, NULL, 1.0, babl_format(grey ? "Y u8" : "R'G'B' u8"), pixels,
                  GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
  for (gsize i = grey ? (gsize)width * height : 0; i-- > 0;)
    memset(pixels + 3 * i, pixels[i], 3);
  g_object_unref(buffer);
  return TEXTINV_OK;
}

/* the image as one layer; where none is visible that is the background */
static gint32 flatten(gint32 image)
{
  gint count;
  gint *layers = gimp_image_get_layers(image, &count);
  gboolean seen = FALSE;

  for (gint i = 0; i < count; i++)
    seen |= gimp_item_get_visible(layers[i]);
  g_free(layers);
  if (!seen) {
    const gint32 ground = gimp_layer_new(image, "", gimp_image_width(image),
                                         gimp_image_height(image), GIMP_RGB_IMAGE, 100.0,
                                         GIMP_LAYER_MODE_NORMAL);

    gimp_drawable_fill(ground, GIMP_FILL_BACKGROUND);
    gimp_image_insert_layer(image, ground, 0, 0);
  }
  return gimp_image_flatten(image);
}

/* what is seen in the region and what of it is selected, width x height */
static textinv_status read_region(textinv_images **picture, textinv_images **mask,
                                  textinv_session *session, gint32 image, const region *r,
                                  gint width, gint height, gboolean selected)
{
  const gint32 copy = gimp_image_duplicate(image);
  textinv_status status;

  gimp_image_undo_disable(copy);
  gimp_image_crop(copy, r->width, r->height, r->x, r->y);
  gimp_image_scale(copy, width, height);
  status = selected ? read_pixels(mask, session, gimp_image_get_selection(copy)) : TEXTINV_OK;
  if (status >= 0)
    status = read_pixels(picture, session, flatten(copy));
  gimp_image_delete(copy);
  return status;
}

/* the picture as a layer over the region, of which what is not selected is masked */
static void add_layer(gint32 image, const region *r, textinv_images *picture, const gchar *name,
                      gboolean selected)
{
  const gint width = (gint)textinv_images_width(picture);
  const gint height = (gint)textinv_images_height(picture);
  const gint32 layer = gimp_layer_new(image, name, width, height, GIMP_RGBA_IMAGE, 100.0,
                                      gimp_image_get_default_new_layer_mode(image));
  GeglBuffer *buffer = gimp_drawable_get_buffer(layer);

  gegl_buffer_set(buffer, NULL, 0, babl_format("R'G'B' u8"), textinv_images_pixels(picture, 0),
                  GEGL_AUTO_ROWSTRIDE);
  g_object_unref(buffer);
  gimp_image_undo_group_start(image);
  gimp_image_insert_layer(image, layer, -1, -1);
  gimp_layer_scale(layer, r->width, r->height, FALSE);
  gimp_layer_set_offsets(layer, r->x, r->y);
  if (selected)
    gimp_layer_add_mask(layer, gimp_layer_create_mask(layer, GIMP_ADD_MASK_SELECTION));
  gimp_image_undo_group_end(image);
}

/* returns NULL, or why nothing was drawn */
static gchar *draw(gint32 image, const options *o)
{
  textinv_session *session = NULL;
  textinv_model *model = NULL;
  textinv_embeddings *words = NULL;
  textinv_images *picture = NULL, *mask = NULL, *drawn = NULL;
  textinv_model_info info;
  textinv_generate_params params;
  textinv_status status;
  gchar *message = NULL;
  region r;
  gint width, height;
  const gboolean selected = find_region(&r, image);

  if (gimp_image_base_type(image) != GIMP_RGB)
    return g_strdup("the image is grey or has a palette, RGB is expected: Image / Mode / RGB");
  gimp_progress_init(o->prompt);
  textinv_model_info_init(&info, sizeof(info));
  textinv_generate_params_init(&params, sizeof(params));
  params.prompt = o->prompt;
  params.steps = (uint32_t)o->steps;
  params.guidance_scale = (float)o->guidance;
  params.strength = (float)o->strength;
  params.seed = (uint32_t)o->seed;
  params.progress = tell;
  if ((status = textinv_session_new(&session, NULL)) < 0 ||
      (status = textinv_model_open(&model, session, *o->model ? o->model : NULL)) < 0 ||
      (status = textinv_model_get_info(model, &info)) < 0 ||
      (status = textinv_embeddings_new(&words, session)) < 0 ||
      (status = load_words(session, words, model, o->words)) < 0)
    goto out;
  if (info.needs_mask && !selected) {
    message = g_strdup("The model was made for inpainting: select what it is to draw.");
    goto out;
  }
  find_size(&width, &height, &r, &info);
  params.width = (uint32_t)width;
  params.height = (uint32_t)height;
  if (selected || o->strength < 1) {
    if ((status = read_region(&picture, &mask, session, image, &r, width, height, selected)) < 0)
      goto out;
    params.init_image = picture;
    params.mask = mask;
  }
  if ((status = textinv_generate(&drawn, session, model, words, &params)) >= 0)
    add_layer(image, &r, drawn, o->prompt, selected);
out:
  if (status < 0)
    message = g_strdup(textinv_session_error(session));
  textinv_images_free(drawn);
  textinv_images_free(mask);
  textinv_images_free(picture);
  textinv_embeddings_free(words);
  textinv_model_free(model);
  textinv_session_free(session);
  return message;
}

/* --- the dialog */

static GtkWidget *add_row(GtkWidget *table, gint row, const gchar *label, GtkWidget *widget)
{
  gimp_table_attach_aligned(GTK_TABLE(table), 0, row, label, 0.0, 0.5, widget, 1, FALSE);
  return widget;
}

static GtkWidget *entry(const gchar *text, const gchar *tip)
{
  GtkWidget *widget = gtk_entry_new();

  gtk_entry_set_width_chars(GTK_ENTRY(widget), 40);
  gtk_entry_set_text(GTK_ENTRY(widget), text);
  gimp_help_set_help_data(widget, tip, NULL);
  return widget;
}

static GtkWidget *number(gdouble value, gdouble least, gdouble most, gdouble step, gint digits)
{
  GtkWidget *widget = gtk_spin_button_new_with_range(least, most, step);

  gtk_spin_button_set_digits(GTK_SPIN_BUTTON(widget), (guint)digits);
  gtk_spin_button_set_value(GTK_SPIN_BUTTON(widget), value);
  return widget;
}

/* *message: why what was asked for is not possible, or NULL */
static gboolean ask(options *o, gchar **message)
{
  GtkWidget *dialog, *table, *prompt, *words, *model, *steps, *guidance, *strength, *seed;
  gboolean run;

  gimp_ui_init(PROCEDURE, FALSE);
  dialog = gimp_dialog_new("Textual Inversion", PROCEDURE, NULL, 0, gimp_standard_help_func,
                           PROCEDURE, GTK_STOCK_CANCEL, GTK_RESPONSE_CANCEL, "_Draw",
                           GTK_RESPONSE_OK, NULL);
  gimp_window_set_transient(GTK_WINDOW(dialog));
  table = gtk_table_new(7, 3, FALSE);
  gtk_table_set_row_spacings(GTK_TABLE(table), 6);
  gtk_table_set_col_spacings(GTK_TABLE(table), 6);
  gtk_container_set_border_width(GTK_CONTAINER(table), 12);
  gtk_box_pack_start(GTK_BOX(gtk_dialog_get_content_area(GTK_DIALOG(dialog))), table, TRUE, TRUE,
                     0);
  prompt = add_row(
    table, 0, "_Prompt:", entry(o->prompt, "What to draw, learnt words among it, such as <toy>"));
  words = add_row(table, 1,
                  "_Words:", entry(o->words, "File of a learnt word, or a folder of such files"));
  model = add_row(table, 2, "_Model:",
                  entry(o->model,
                        "Folder or file of a Stable Diffusion model; empty for the small one "
                        "that comes with the library"));
  steps = add_row(table, 3, "_Steps:", number(o->steps, 1, 1000, 1, 0));
  guidance = add_row(table, 4, "_Guidance:", number(o->guidance, 1, 30, 0.5, 1));
  strength = add_row(table, 5, "S_trength:", number(o->strength, 0.05, 1, 0.05, 2));
  gimp_help_set_help_data(strength, "How far from what is there; 1 draws anew", NULL);
  seed = add_row(table, 6, "S_eed:", number(o->seed, 0, G_MAXINT32, 1, 0));
  gtk_widget_show_all(dialog);
  run = gimp_dialog_run(GIMP_DIALOG(dialog)) == GTK_RESPONSE_OK;
  if (run) {
    *message = take_texts(o, gtk_entry_get_text(GTK_ENTRY(prompt)),
                          gtk_entry_get_text(GTK_ENTRY(words)),
                          gtk_entry_get_text(GTK_ENTRY(model)));
    o->steps = gtk_spin_button_get_value_as_int(GTK_SPIN_BUTTON(steps));
    o->guidance = gtk_spin_button_get_value(GTK_SPIN_BUTTON(guidance));
    o->strength = gtk_spin_button_get_value(GTK_SPIN_BUTTON(strength));
    o->seed = gtk_spin_button_get_value_as_int(GTK_SPIN_BUTTON(seed));
  }
  gtk_widget_destroy(dialog);
  return run;
}

/* --- the plug-in */

static const GimpParamDef arguments[] = {
  { GIMP_PDB_INT32, "run-mode", "RUN-INTERACTIVE (0), RUN-NONINTERACTIVE (1)" },
  { GIMP_PDB_IMAGE, "image", "Image; what is selected is drawn anew" },
  { GIMP_PDB_DRAWABLE, "drawable", "Not used: what is seen counts" },
  { GIMP_PDB_STRING, "prompt", "What to draw" },
  { GIMP_PDB_STRING, "words", "File of a learnt word, or folder of such files, or \"\"" },
  { GIMP_PDB_STRING, "model", "Folder or file of a model, or \"\" for the library's own" },
  { GIMP_PDB_INT32, "steps", "Sampler steps, 1 to 1000" },
  { GIMP_PDB_FLOAT, "guidance", "Classifier-free guidance, 1 = none" },
  { GIMP_PDB_FLOAT, "strength", "How far from what is there, above 0 to 1" },
  { GIMP_PDB_INT32, "seed", "Seed, 0 or more" },
};

static void query(void)
{
  gimp_install_procedure(PROCEDURE, "Draw a prompt with learnt words",
                         "Draws a prompt into a new layer; what is selected, if anything, is drawn "
                         "to fit into what is around it",
                         "libtextinv", "MIT licence", "2026", "_Textual Inversion...", "RGB*",
                         GIMP_PLUGIN, G_N_ELEMENTS(arguments), 0, arguments, NULL);
  gimp_plugin_menu_register(PROCEDURE, "<Image>/Filters/Render");
}

static void run(const gchar *name, gint count, const GimpParam *in, gint *num_out, GimpParam **out)
{
  static GimpParam result[2];
  options o = { "", "", "", 30, 7.5, 1.0, 0 };
  const GimpRunMode mode = (GimpRunMode)in[0].data.d_int32;
  gchar *message = NULL;

  (void)name;
  *out = result;
  *num_out = 1;
  result[0].type = GIMP_PDB_STATUS;
  result[0].data.d_status = GIMP_PDB_SUCCESS;
  gegl_init(NULL, NULL);
  if (mode != GIMP_RUN_NONINTERACTIVE) {
    gimp_get_data(PROCEDURE, &o);
    if (mode == GIMP_RUN_INTERACTIVE && !ask(&o, &message)) {
      result[0].data.d_status = GIMP_PDB_CANCEL;
      return;
    }
  } else if (count != G_N_ELEMENTS(arguments)) {
    result[0].data.d_status = GIMP_PDB_CALLING_ERROR;
    return;
  } else {
    message = take_texts(&o, in[3].data.d_string, in[4].data.d_string, in[5].data.d_string);
    o.steps = in[6].data.d_int32;
    o.guidance = in[7].data.d_float;
    o.strength = in[8].data.d_float;
    o.seed = in[9].data.d_int32;
  }
  if (!message)
    message = draw(in[1].data.d_image, &o);
  if (message) {
    result[0].data.d_status = GIMP_PDB_EXECUTION_ERROR;
    result[1].type = GIMP_PDB_STRING;
    result[1].data.d_string = message;
    *num_out = 2;
    return;
  }
  if (mode == GIMP_RUN_INTERACTIVE)
    gimp_set_data(PROCEDURE, &o, sizeof(o));
  if (mode != GIMP_RUN_NONINTERACTIVE)
    gimp_displays_flush();
}

const GimpPlugInInfo PLUG_IN_INFO = { NULL, NULL, query, run };

MAIN()
