"""simulate: a seed to a dataset of neurons whose trees are known exactly."""

from pathlib import Path

from pipeline import config

COLUMNS = ("sample", "image", "voxel_size", "reference", "reference_unit", "root", "modality")


def run(output: Path, *, settings: config.Simulate = config.Simulate()) -> None:
    """Make a dataset of simulated neurons with exactly known trees.

    For each neuron an 8 bit TIFF stack with ImageJ metadata (48 x 256 x 256 voxels of 0.8 x 0.33 x 0.33 um)
    and its tree; the same seed gives the same bytes.

    Args:
        output: folder, gets neuron_N.tif, neuron_N.swc (um) and the sheet samples.tsv.
    """
    import tifffile

    from pipeline import swc
    from pipeline.files import whole, write_text
    from pipeline.simulation.demo import demo_neuron

    rows = []
    for index in range(settings.neurons):
        made = demo_neuron(index, settings.neurons, seed=settings.seed)
        name = f"neuron_{index + 1}"
        z_um, y_um, x_um = made.voxel_size
        with whole(output / f"{name}.tif") as private:
            tifffile.imwrite(
                private,
                made.image,
                imagej=True,
                resolution=(1 / x_um, 1 / y_um),
                metadata={"axes": "ZYX", "spacing": z_um, "unit": "um"},
            )
        swc.write(output / f"{name}.swc", made.tree, header=swc.header(f"{name}.tif", made.voxel_size))
        root_zyx = swc.um_to_voxel(made.tree.xyz[0], made.voxel_size)
        root = ",".join(f"{place:.2f}" for place in root_zyx[::-1])
        size = ",".join(f"{edge:g}" for edge in made.voxel_size)
        rows.append((name, f"{name}.tif", size, f"{name}.swc", "um", root, "lm"))
        print(f"{output / name}.tif: {len(made.tree)} nodes")
    # The sheet comes last: it names files that exist.
    write_text(output / "samples.tsv", "".join("\t".join(row) + "\n" for row in (COLUMNS, *rows)))
