"""simulate: a seed to a dataset whose truth is known exactly: neurons, or blocks of tissue."""

from pathlib import Path

from pipeline import config

COLUMNS = ("sample", "image", "voxel_size", "reference", "reference_unit", "root", "modality")
CELL_COLUMNS = ("sample", "image", "voxel_size", "reference", "reference_unit", "skeletons", "modality")


def run(
    output: Path, *, modality: config.Modality = "lm", settings: config.Simulate = config.Simulate()
) -> None:
    """Make a dataset of simulated neurons with exactly known trees.

    lm: for each neuron an 8 bit TIFF stack with ImageJ metadata (48 x 256 x 256 voxels of 0.8 x 0.33 x 0.33 um)
    and its tree. em: for each block of tissue a stack (48 x 256 x 256 voxels of 8 nm, or 24 x 256 x 256 of
    32 x 8 x 8 nm), the labels of its cells and the trees of the longer ones. The same seed gives the same bytes.

    Args:
        output: folder, gets neuron_N.tif, neuron_N.swc (um) and the sheet samples.tsv; of em tissue_N.tif,
            tissue_N_labels.tif and tissue_N_skeletons/{label}.swc (um).
        modality: lm | em.
    """
    from pipeline.files import write_text

    if modality == "em":
        columns, rows = CELL_COLUMNS, [_tissue(output, index, settings) for index in range(settings.tissues)]
    else:
        columns, rows = COLUMNS, [_neuron(output, index, settings) for index in range(settings.neurons)]
    # The sheet comes last: it names files that exist.
    write_text(output / "samples.tsv", "".join("\t".join(row) + "\n" for row in (columns, *rows)))


def _neuron(folder: Path, index: int, settings: config.Simulate) -> tuple[str, ...]:
    """Make the files of a neuron; its row of the sheet."""
    from pipeline import swc
    from pipeline.simulation.demo import demo_neuron

    made = demo_neuron(index, settings.neurons, seed=settings.seed)
    name = f"neuron_{index + 1}"
    _write_stack(folder / f"{name}.tif", made.image, made.voxel_size)
    swc.write(folder / f"{name}.swc", made.tree, header=swc.header(f"{name}.tif", made.voxel_size))
    root_zyx = swc.um_to_voxel(made.tree.xyz[0], made.voxel_size)
    root = ",".join(f"{place:.2f}" for place in root_zyx[::-1])
    print(f"{folder / name}.tif: {len(made.tree)} nodes", flush=True)
    return name, f"{name}.tif", _text(made.voxel_size), f"{name}.swc", "um", root, "lm"


def _tissue(folder: Path, index: int, settings: config.Simulate) -> tuple[str, ...]:
    """Make the files of a block of tissue; its row of the sheet."""
    from pipeline import swc
    from pipeline.files import whole
    from pipeline.simulation.demo import demo_tissue

    made, voxel_size = demo_tissue(index, seed=settings.seed)
    name = f"tissue_{index + 1}"
    _write_stack(folder / f"{name}.tif", made.image, voxel_size)
    # ImageJ knows labels of 16 bits; a block has some hundred.
    _write_stack(folder / f"{name}_labels.tif", made.labels.astype("uint16"), voxel_size)
    header = swc.header(f"{name}.tif", voxel_size)
    with whole(folder / f"{name}_skeletons") as private:
        private.mkdir()
        for label, tree in made.trees.items():
            swc.write(private / f"{label}.swc", tree, header=header)
    print(f"{folder / name}.tif: {made.labels.max()} cells, {len(made.trees)} skeletons", flush=True)
    labels, skeletons = f"{name}_labels.tif", f"{name}_skeletons"
    return name, f"{name}.tif", _text(voxel_size), labels, "um", skeletons, "em"


def _write_stack(path: Path, image, voxel_size: tuple[float, float, float]) -> None:
    """A TIFF as ImageJ writes it; voxel size z, y, x um."""
    import tifffile

    from pipeline.files import whole

    z_um, y_um, x_um = voxel_size
    with whole(path) as private:
        tifffile.imwrite(
            private,
            image,
            imagej=True,
            resolution=(1 / x_um, 1 / y_um),
            metadata={"axes": "ZYX", "spacing": z_um, "unit": "um"},
        )


def _text(voxel_size: tuple[float, float, float]) -> str:
    return ",".join(f"{edge:g}" for edge in voxel_size)
