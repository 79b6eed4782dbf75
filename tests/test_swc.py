"""SWC: do we read what the world writes, refuse what no tree is, and write what every program reads?"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pipeline import swc
from pipeline.errors import FileWarning, InputError

Y = "1 1 0 0 0 2 -1\n2 3 10 0 0 1 1\n3 3 20 5 0 1 2\n4 3 20 -5 0 1 2\n"


def read(tmp_path, text, **options):
    path = tmp_path / "tree.swc"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return swc.read(path, **options)


def assert_same(first, second):
    for name in ("xyz", "radius", "parent", "type"):
        assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_rows_become_arrays_in_file_order(tmp_path):
    tree = read(tmp_path, Y)
    assert_array_equal(tree.parent, [-1, 0, 1, 1])
    assert_array_equal(tree.xyz, [[0, 0, 0], [10, 0, 0], [20, 5, 0], [20, -5, 0]])
    assert_array_equal(tree.radius, [2, 1, 1, 1])
    assert_array_equal(tree.type, [1, 3, 3, 3])


@pytest.mark.parametrize(
    "text",
    [
        Y.replace(" ", "\t"),
        Y.replace(" ", ", "),
        Y.replace(" ", "   "),
        Y.replace("\n", "\r\n"),
        Y.replace("\n", "\r"),
        "# made by x\r" + Y.replace("\n", "\r"),
        Y.replace("\n", " # why\n"),
        Y.replace("\n", "\n\n"),
        Y.replace("\n", "\n# between\n"),
        Y.replace("\n", " 7 8 9\n"),
        Y.replace("10 0 0", "1e1 0.0 -0"),
        Y.replace("-1\n", "-1.0\n").replace("1 1 0", "1.0 1.0 0"),
        "  " + Y.replace("\n", "  \n  "),
        Y.rstrip("\n"),
        b"\xef\xbb\xbf" + Y.encode(),
        b"# caf\xe9\n" + Y.encode(),
        Y.replace(" ", ",\t"),
    ],
)
def test_odd_formatting_reads_as_the_same_tree(tmp_path, text):
    assert_same(read(tmp_path, text), read(tmp_path, Y))


def test_rows_in_any_order_with_any_ids_make_the_same_edges(tmp_path):
    tree = read(tmp_path, "70 3 20 5 0 1 9\n9 3 10 0 0 1 500\n500 1 0 0 0 2 -1\n3 3 20 -5 0 1 9\n")
    assert_array_equal(tree.parent, [1, 2, -1, 1])
    assert_same(swc.sorted_tree(tree), read(tmp_path, Y))


def test_parent_0_without_a_node_0_is_a_root_and_said_so(tmp_path):
    with pytest.warns(UserWarning, match="parent 0"):
        tree = read(tmp_path, Y.replace(" 2 -1\n", " 2 0\n"))
    assert_array_equal(tree.parent, [-1, 0, 1, 1])


def test_parent_0_with_a_node_0_is_that_node(tmp_path):
    assert_array_equal(read(tmp_path, "0 1 0 0 0 1 -1\n1 3 5 0 0 1 0\n").parent, [-1, 0])


def test_voxel_coordinates_are_scaled_by_axis_and_radii_by_the_plane(tmp_path):
    tree = read(tmp_path, "1 1 1 1 1 1 -1\n", unit="voxel", voxel_size=(4.0, 2.0, 0.5))
    assert_array_equal(tree.xyz, [[0.5, 2.0, 4.0]])
    assert tree.radius[0] == 1.25


def test_nanometres_become_um(tmp_path):
    tree = read(tmp_path, "1 1 1000 2000 3000 500 -1\n", unit="nm")
    assert_allclose(tree.xyz, [[1, 2, 3]])
    assert_allclose(tree.radius, [0.5])


def test_um_to_voxel_undoes_voxel_to_um():
    points = np.array([[1.0, 2.0, 3.0], [-4.0, 5.5, 0.0]])
    assert_allclose(swc.um_to_voxel(swc.voxel_to_um(points, (4, 2, 0.5)), (4, 2, 0.5)), points)


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("1 1 0 0 0 1 -1\n2 3 1 0 0 1 9\n", 2, "parent 9"),
        ("# header\n\n1 1 0 0 0 1 -1\n2 3 1 0 0 1 -7\n", 4, "parent -7"),
        ("1 1 0 0 0 1 -1\n2 3 1 0 0 1 3\n3 3 2 0 0 1 2\n", 2, "its own ancestor"),
        ("1 1 0 0 0 1 1\n", 1, "its own ancestor"),
        ("1 1 0 0 0 1 -1\n1 3 1 0 0 1 1\n", 2, "id 1 again"),
        ("1 1 0 0 0 1 -1\n2 3 nan 0 0 1 1\n", 2, "nan"),
        ("1 1 0 0 0 1 -1\n2 3 0 inf 0 1 1\n", 2, "inf"),
        ("1 1 0 0 0 1 -1\n2 3 0 0 0 1\n", 2, "6 fields"),
        ("1 1 0 0 0 1 -1\n2 3 a 0 0 1 1\n", 2, "'2 3 a 0 0 1 1'"),
        ("1 1 0 0 0 1 -1\n2.5 3 0 0 0 1 1\n", 2, "2.5"),
        ("II*\x00binary\n", 1, "binary"),
    ],
)
def test_what_is_no_tree_is_refused_in_one_line_with_its_place(tmp_path, text, line, found):
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert f"tree.swc line {line}:" in str(error.value)
    assert found in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "# a header and nothing else\n"])
def test_a_file_without_rows_is_refused_unless_a_tree_may_be_empty(tmp_path, text):
    with pytest.raises(InputError, match="no rows"):
        read(tmp_path, text)
    assert len(read(tmp_path, text, empty=True)) == 0


def test_a_missing_file_and_an_unknown_unit_are_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.swc: cannot be read"):
        swc.read(tmp_path / "absent.swc")
    with pytest.raises(InputError, match=r"unit 'mm'; allowed: voxel \| um \| nm"):
        read(tmp_path, Y, unit="mm")


def test_written_trees_read_back_the_same(tmp_path):
    tree = read(tmp_path, Y)
    swc.write(tmp_path / "out.swc", tree, header={"ORIGINAL_SOURCE": "test", "UNIT": "um"})
    assert_same(swc.read(tmp_path / "out.swc"), tree)


def test_the_written_file_is_plain_to_the_letter(tmp_path):
    tree = read(tmp_path, "5 3 20.00004 -0.00001 0 1 7\n7 1 0 0 0 2 -1\n")
    swc.write(tmp_path / "out.swc", tree, header={"UNIT": "um"})
    assert (tmp_path / "out.swc").read_bytes() == (
        b"# UNIT um\n# id type x y z radius parent\n"
        b"1 1 0.0000 0.0000 0.0000 2.0000 -1\n2 3 20.0000 0.0000 0.0000 1.0000 1\n"
    )


def test_the_soma_comes_first_and_parents_before_children(tmp_path):
    text = "1 3 50 0 0 1 -1\n2 3 60 0 0 1 1\n3 3 5 0 0 1 4\n4 1 0 0 0 1 -1\n5 3 7 0 0 1 3\n"
    tree = swc.sorted_tree(read(tmp_path, text))
    assert_array_equal(tree.xyz[:, 0], [0, 5, 7, 50, 60])
    assert_array_equal(tree.parent, [-1, 0, 1, -1, 3])


def test_sorting_twice_changes_nothing_more(tmp_path):
    once = swc.sorted_tree(read(tmp_path, Y))
    assert_same(swc.sorted_tree(once), once)


def test_a_node_whose_parent_is_not_taken_becomes_a_root(tmp_path):
    part = swc.take(read(tmp_path, Y), np.array([2, 1]))
    assert_array_equal(part.parent, [1, -1])


def test_cable_length_of_a_y_by_hand(tmp_path):
    assert swc.cable_length(read(tmp_path, Y)) == pytest.approx(10 + 2 * np.sqrt(125))


def test_a_long_path_is_no_cycle(tmp_path):
    n = 20_000
    rows = np.random.default_rng(0).permutation(n)
    lines = [f"{i + 1} 3 {i} 0 0 1 {i if i else -1}" for i in rows]
    tree = read(tmp_path, "\n".join(lines))
    assert swc.cable_length(tree) == n - 1
    assert_array_equal(swc.sorted_tree(tree).parent, np.arange(n) - 1)


COMMAS = "1 1 0,0 0,0 0,0 2,0 -1\n2 3 10,0 0,0 0,0 1,0 1\n3 3 20,0 5,0 0,0 1,0 2\n4 3 20,0 -5,0 0,0 1,0 2\n"


@pytest.mark.parametrize(
    "text",
    [
        COMMAS,
        COMMAS.replace(" ", ";"),
        COMMAS.replace(" ", "\t"),
        COMMAS.replace("10,0 0,0", "1,0e1 ,0"),
        COMMAS.replace("0,0 ", "0 "),
        COMMAS.replace("1 1 0,0 0,0 0,0 2,0 -1", "1 1 0 0 0 2 -1"),
    ],
)
def test_decimal_commas_are_read_as_points_and_said(tmp_path, text):
    with pytest.warns(FileWarning, match="decimal commas"):
        tree = read(tmp_path, text)
    assert_same(tree, read(tmp_path, Y))


@pytest.mark.parametrize("row", ["2 3 1.234,5 0 0 1 1", "2 3 1,234.5 0 0 1 1", "2 3 0.5 1,5 0 1 1"])
def test_commas_and_points_within_numbers_are_refused(tmp_path, row):
    with pytest.raises(InputError, match="commas and points"):
        read(tmp_path, f"1 1 0 0 0 2 -1\n{row}\n")


@pytest.mark.parametrize("text", [Y.replace(" ", ";"), Y.replace(" ", "; "), Y.replace("10 0", "10,0")])
def test_commas_and_semicolons_between_fields_are_no_decimals(tmp_path, text):
    assert_same(read(tmp_path, text), read(tmp_path, Y))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_text_of_other_editors_is_read(tmp_path, encoding):
    assert_same(read(tmp_path, Y.encode(encoding)), read(tmp_path, Y))


@pytest.mark.parametrize(
    "header", ["# OFFSET 100 200 -5", "#offset: 100, 200, -5", "# made by x\n#  OFFSET  1e2 200.0 -5 "]
)
def test_the_offset_of_a_header_is_added_and_said(tmp_path, header):
    with pytest.warns(FileWarning, match="OFFSET 100 200 -5 of its header was added"):
        tree = read(tmp_path, f"{header}\n{Y}")
    assert_array_equal(tree.xyz, read(tmp_path, Y).xyz + [100, 200, -5])


@pytest.mark.parametrize("header", ["# SCALE 2 2 2", "# SCALE 2", "# scale 0.5 0.5 2.0"])
def test_a_scale_of_a_header_is_told_and_not_applied(tmp_path, header):
    with pytest.warns(FileWarning, match="SCALE .* was not applied"):
        assert_same(read(tmp_path, f"{header}\n{Y}"), read(tmp_path, Y))


def test_a_unit_in_the_header_that_is_not_the_one_asked_for_is_told(tmp_path):
    own = "\n".join(f"# {word} {value}" for word, value in swc.header("a.tif", (1, 1, 1)).items())
    with pytest.warns(FileWarning, match="its header says UNIT um, it was read as nm"):
        read(tmp_path, f"{own}\n{Y}", unit="nm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path, f"{own}\n{Y}")


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "NA", "-1.#IND", "1.#QNAN00"])
def test_a_radius_that_is_no_number_is_that_of_the_neighbours_and_said(tmp_path, word):
    with pytest.warns(FileWarning, match="1 of 4 radii are no number"):
        tree = read(tmp_path, Y.replace("10 0 0 1 1", f"10 0 0 {word} 1"))
    assert_allclose(tree.radius, [2, (2 + 1 + 1) / 3, 1, 1])


def test_far_radii_come_from_the_nearest_along_the_tree_and_none_at_all_are_0():
    parent, xyz = np.arange(6) - 1, np.arange(18.0).reshape(6, 3)
    radius = np.array([3.0, *[np.nan] * 4, 1.0])
    assert_allclose(swc.fill_radii(radius, parent, xyz), [3, 3, 3, 1, 1, 1])
    assert_allclose(swc.fill_radii(np.full(6, np.nan), parent, xyz), 0)
    alone = np.array([-1, 0, -1])
    assert_allclose(swc.fill_radii(np.array([2.0, 4, np.nan]), alone, xyz[:3]), [2, 4, 3])


def test_a_thousand_rows_without_an_edge_are_no_tree_and_some_are_told(tmp_path):
    rows = [f"{i} 3 {i} 0 0 1 -1" for i in range(1, 1001)]
    with pytest.raises(InputError, match="1000 rows and no edge"):
        read(tmp_path, "\n".join(rows))
    with pytest.warns(FileWarning, match="3 rows and no edge"):
        assert len(read(tmp_path, "\n".join(rows[:3]))) == 3


@pytest.mark.parametrize(
    "row", ["1e300 3 0 0 0 1 -1", "1 3 1e300 0 0 1 -1", "1 3 0 0 0 1e300 -1", "1_0 3 0 0 0 1 -1"]
)
def test_numbers_that_are_none_are_refused(tmp_path, row):
    with pytest.raises(InputError, match="line 1"):
        read(tmp_path, row)


def test_trees_are_found_by_their_suffix_in_any_case(tmp_path):
    for name in ("a.swc", "b.SWC", "c.eswc", "d.ESWC", "e.txt", "deep/f.swc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ["a.swc", "b.SWC", "c.eswc", "d.ESWC"]
    assert [path.name for path in swc.below(tmp_path)] == [*names, "f.swc"]
    assert [path.name for path in swc.below(tmp_path, deep=False)] == names


def test_the_extended_columns_of_vaa3d_are_passed_over(tmp_path):
    assert_same(
        read(tmp_path, "# id,type,x,y,z,r,pid\n" + Y.replace("\n", " 0 1 2 171 0 2.5\n")), read(tmp_path, Y)
    )
