"""The kernels that draw the pictures of `augmix.augment.bank`, by family."""

from typing import no_type_check

import numpy as np

from augmix.augment.bank import FAMILIES
from augmix.jit import inner, outer
from augmix.rng import philox4x32_scalar

_LATTICE = 64  # gradients of Perlin noise repeat after so many cells
_FRACTAL, _PLASMA, _PERLIN = (FAMILIES.index(name) for name in ("fractal", "plasma", "perlin"))
_philox = inner(philox4x32_scalar)


@outer
@no_type_check
def draw(families, uniforms, addresses, factor, pictures, start, stop):
    """Draw the pictures start .. stop, each at ``factor`` times its size, and average them."""
    size = pictures.shape[1]
    large = size * factor
    canvas = np.empty((large, large, 3))
    field = np.empty((large, large))
    for number in range(start, stop):
        u = uniforms[number]
        address = addresses[number]
        if families[number] == _FRACTAL:
            _fractal(u, address, canvas, field)
        elif families[number] == _PLASMA:
            _plasma(u, address, canvas, field)
        elif families[number] == _PERLIN:
            _perlin(u, address, canvas, field)
        else:
            _voronoi(u, address, canvas, field)
        scale = 255.0 / (factor * factor)
        for y in range(size):
            for x in range(size):
                for channel in range(3):
                    total = 0.0
                    for dy in range(factor):
                        for dx in range(factor):
                            total += canvas[y * factor + dy, x * factor + dx, channel]
                    level = np.floor(total * scale + 0.5)
                    pictures[number, y, x, channel] = np.uint8(min(max(level, 0.0), 255.0))


@inner
@no_type_check
def _fill(address, part, values):
    """Uniform numbers in (0, 1) by the words of Philox from block ``part * 2**24`` on."""
    words = np.empty(4, np.uint32)
    for start in range(0, values.size, 4):
        block = np.uint32(part * 16777216 + start // 4)
        _philox(block, address[0], address[1], address[2], np.uint32(0), np.uint32(0), words)
        for index in range(start, min(start + 4, values.size)):
            values[index] = (words[index - start] + 0.5) * 2.3283064365386963e-10


@inner
@no_type_check
def _colour(u, field, canvas):
    """Colour a field in [0, 1] by a cycle of 3 to 6 random colours, forwards and backwards."""
    count = 3 + int(u[0] * 4)
    bands = 1.0 + np.floor(u[1] * 4)
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            t = field[y, x] * bands
            t -= 2.0 * np.floor(t * 0.5)
            t = 2.0 - t if t > 1.0 else t
            t *= count - 1
            first = min(int(t), count - 2)
            part = t - first
            for channel in range(3):
                low, high = u[2 + 3 * first + channel], u[5 + 3 * first + channel]
                canvas[y, x, channel] = low + part * (high - low)


@inner
@no_type_check
def _stretch(field):
    """Bring the values of a field to 0 .. 1."""
    low, high = field[0, 0], field[0, 0]
    for value in field.flat:
        low = min(low, value)
        high = max(high, value)
    spread = high - low if high > low else 1.0
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            field[y, x] = (field[y, x] - low) / spread


@inner
@no_type_check
def _plasma(u, address, canvas, field):
    """Clouds by midpoint displacement (Fournier et al. 1982), in one or three channels."""
    size = 1
    while size < field.shape[0]:
        size *= 2
    grid = np.empty((size + 1, size + 1))
    roughness = 0.45 + 0.4 * u[0]
    is_coloured = u[1] < 0.5
    for channel in range(3 if is_coloured else 1):
        _displace(address, channel, roughness, grid)
        for y in range(field.shape[0]):
            for x in range(field.shape[1]):
                field[y, x] = grid[y, x]
        _stretch(field)
        if is_coloured:
            for y in range(field.shape[0]):
                for x in range(field.shape[1]):
                    canvas[y, x, channel] = field[y, x]
    if not is_coloured:
        _colour(u[2:], field, canvas)


@inner
@no_type_check
def _displace(address, part, roughness, grid):
    """Diamond-square: every new point is the mean of its neighbours and a random step."""
    size = grid.shape[0] - 1
    draws = np.empty(grid.size)
    _fill(address, part, draws)
    used = 4
    grid[0, 0], grid[0, size], grid[size, 0], grid[size, size] = (
        draws[0], draws[1], draws[2], draws[3],
    )  # fmt: skip
    step, strength = size, 1.0
    while step > 1:
        half = step // 2
        strength *= roughness
        for y in range(half, size, step):
            for x in range(half, size, step):
                mean = grid[y - half, x - half] + grid[y - half, x + half]
                mean = (mean + grid[y + half, x - half] + grid[y + half, x + half]) * 0.25
                grid[y, x] = mean + strength * (draws[used] - 0.5)
                used += 1
        for y in range(0, size + 1, half):
            for x in range((y // half + 1) % 2 * half, size + 1, step):
                total, count = 0.0, 0.0
                if y >= half:
                    total += grid[y - half, x]
                    count += 1.0
                if y + half <= size:
                    total += grid[y + half, x]
                    count += 1.0
                if x >= half:
                    total += grid[y, x - half]
                    count += 1.0
                if x + half <= size:
                    total += grid[y, x + half]
                    count += 1.0
                grid[y, x] = total / count + strength * (draws[used] - 0.5)
                used += 1
        step = half


@inner
@no_type_check
def _perlin(u, address, canvas, field):
    """Sums of gradient noise (Perlin 1985): clouds, ridges or folds, straight or warped."""
    gradients = np.empty(2 * _LATTICE * _LATTICE)
    _fill(address, 0, gradients)
    for index in range(0, gradients.size, 2):  # directions, by the projection of a square
        dx, dy = 2.0 * gradients[index] - 1.0, 2.0 * gradients[index + 1] - 1.0
        length = np.sqrt(dx * dx + dy * dy) + 1e-9
        gradients[index], gradients[index + 1] = dx / length, dy / length
    octaves = 1 + int(u[0] * 5)
    frequency = 2.0 + 7.0 * u[1]
    persistence = 0.35 + 0.4 * u[2]
    kind = int(u[3] * 3)
    warp = 0.0 if u[4] < 0.5 else 2.0 * u[5]
    stretch_y, stretch_x = 0.4 + 1.2 * u[6], 0.4 + 1.2 * u[7]
    size = field.shape[0]
    for y in range(size):
        for x in range(size):
            py, px = y * frequency * stretch_y / size, x * frequency * stretch_x / size
            if warp > 0.0:
                shift = warp * _noise(gradients, py + 17.3, px + 5.1)
                px += warp * _noise(gradients, py + 3.7, px + 29.9)
                py += shift
            total, height, step = 0.0, 1.0, 1.0
            for octave in range(octaves):
                value = _noise(gradients, py * step + 11.0 * octave, px * step + 7.0 * octave)
                if kind == 1:
                    value = abs(value)
                elif kind == 2:
                    value = 0.5 - abs(value)
                total += height * value
                height *= persistence
                step *= 2.0
            field[y, x] = total
    _stretch(field)
    _colour(u[8:], field, canvas)


@inner
@no_type_check
def _noise(gradients, y, x):
    """Gradient noise at a point."""
    row, column = np.floor(y), np.floor(x)
    fy, fx = y - row, x - column
    wy = fy * fy * fy * (fy * (fy * 6.0 - 15.0) + 10.0)
    wx = fx * fx * fx * (fx * (fx * 6.0 - 15.0) + 10.0)
    rows = (int(row) % _LATTICE, (int(row) + 1) % _LATTICE)
    columns = (int(column) % _LATTICE, (int(column) + 1) % _LATTICE)
    top = _slope(gradients, rows[0], columns[0], fy, fx)
    top += wx * (_slope(gradients, rows[0], columns[1], fy, fx - 1.0) - top)
    bottom = _slope(gradients, rows[1], columns[0], fy - 1.0, fx)
    bottom += wx * (_slope(gradients, rows[1], columns[1], fy - 1.0, fx - 1.0) - bottom)
    return top + wy * (bottom - top)


@inner
@no_type_check
def _slope(gradients, row, column, dy, dx):
    index = 2 * (row * _LATTICE + column)
    return gradients[index] * dx + gradients[index + 1] * dy


@inner
@no_type_check
def _voronoi(u, address, canvas, field):
    """Cells of 4 to 64 random points, in three metrics: flat, shaded, or their borders."""
    count = 4
    for _ in range(int(u[0] * 5)):
        count *= 2
    metric, kind = int(u[1] * 3), int(u[2] * 3)
    points = np.empty(5 * count)
    _fill(address, 0, points)
    size = field.shape[0]
    for y in range(size):
        for x in range(size):
            first, second, nearest = 1e9, 1e9, 0
            for point in range(count):
                dy = abs((y + 0.5) / size - points[5 * point])
                dx = abs((x + 0.5) / size - points[5 * point + 1])
                if metric == 0:
                    distance = dy * dy + dx * dx
                elif metric == 1:
                    distance = dy + dx
                else:
                    distance = max(dy, dx)
                if distance < first:
                    first, second, nearest = distance, first, point
                elif distance < second:
                    second = distance
            if metric == 0:
                first, second = np.sqrt(first), np.sqrt(second)
            field[y, x] = first if kind == 1 else second - first
            shade = 1.0
            if kind == 0:
                shade = 0.55 + 0.45 * min(1.0, (second - first) * count)
            for channel in range(3):
                canvas[y, x, channel] = points[5 * nearest + 2 + channel] * shade
    if kind > 0:
        _stretch(field)
        _colour(u[3:], field, canvas)


@inner
@no_type_check
def _fractal(u, address, canvas, hits):
    """The attractor of 2 to 5 random contractions by the chaos game, in the maps' colours.

    Contractions whose attractor is too thin to cover a tenth of the pixels are drawn again.
    """
    size = hits.shape[0]
    num_points = max(4 * size * size, 60_000)
    draws = np.empty(num_points)
    _fill(address, 255, draws)
    numbers = np.empty(64)
    maps = np.empty((5, 6))
    limits = np.empty(5)
    for attempt in range(12):
        _fill(address, attempt, numbers)
        count = 2 + int(numbers[63] * 4)
        _draw_maps(numbers, count, maps, limits)
        _play(maps, limits, count, numbers, draws, hits, canvas)
        covered = 0
        for hit in hits.flat:
            covered += hit > 0.0
        if covered * 10 > size * size:
            break
    mean = num_points / max(covered, 1)
    for y in range(size):
        for x in range(size):
            part = (y + x) / (2.0 * size) if u[0] < 0.5 else 0.0
            seen = hits[y, x] / (hits[y, x] + 0.4 * mean)
            for channel in range(3):
                ground = u[1 + channel] + part * (u[4 + channel] - u[1 + channel])
                colour = canvas[y, x, channel] / max(hits[y, x], 1.0)
                canvas[y, x, channel] = ground + seen * (colour - ground)


@inner
@no_type_check
def _draw_maps(numbers, count, maps, limits):
    """Affine maps whose larger singular value is 0.45 to 0.95, and how often each is taken."""
    total = 0.0
    for index in range(count):
        at = 12 * index
        a, b = 2.0 * numbers[at] - 1.0, 2.0 * numbers[at + 1] - 1.0
        c, d = 2.0 * numbers[at + 2] - 1.0, 2.0 * numbers[at + 3] - 1.0
        squares, det = a * a + b * b + c * c + d * d, a * d - b * c
        largest = np.sqrt((squares + np.sqrt(max(squares * squares - 4.0 * det * det, 0.0))) / 2.0)
        scale = (0.45 + 0.5 * numbers[at + 4]) / (largest + 1e-9)
        maps[index, 0], maps[index, 1], maps[index, 2] = a * scale, b * scale, c * scale
        maps[index, 3] = d * scale
        maps[index, 4], maps[index, 5] = 2.0 * numbers[at + 5] - 1.0, 2.0 * numbers[at + 6] - 1.0
        total += abs(det) * scale * scale + 0.05
        limits[index] = total
    for index in range(count):
        limits[index] /= total


@inner
@no_type_check
def _play(maps, limits, count, numbers, draws, hits, canvas):
    """Count the points of the chaos game in every pixel, and add up their colours."""
    size = hits.shape[0]
    low_x, high_x, low_y, high_y = 1e9, -1e9, 1e9, -1e9
    scale, left, top = 1.0, 0.0, 0.0
    hits[:] = 0.0
    canvas[:] = 0.0
    x, y, red, green, blue = 0.0, 0.0, 0.5, 0.5, 0.5
    measured = draws.size // 8
    for step in range(measured + draws.size):
        draw = draws[step % draws.size]
        index = 0
        while index < count - 1 and draw > limits[index]:
            index += 1
        x, y = (
            maps[index, 0] * x + maps[index, 1] * y + maps[index, 4],
            maps[index, 2] * x + maps[index, 3] * y + maps[index, 5],
        )
        red = 0.5 * (red + numbers[12 * index + 7])
        green = 0.5 * (green + numbers[12 * index + 8])
        blue = 0.5 * (blue + numbers[12 * index + 9])
        if step < measured:  # where the attractor lies
            if step > 30:
                low_x, high_x = min(low_x, x), max(high_x, x)
                low_y, high_y = min(low_y, y), max(high_y, y)
            if step == measured - 1:
                scale = 0.96 * size / max(high_x - low_x, high_y - low_y, 1e-9)
                left = 0.5 * (low_x + high_x) - 0.5 * size / scale
                top = 0.5 * (low_y + high_y) - 0.5 * size / scale
            continue
        column, row = int((x - left) * scale), int((y - top) * scale)
        if 0 <= column < size and 0 <= row < size:
            hits[row, column] += 1.0
            canvas[row, column, 0] += red
            canvas[row, column, 1] += green
            canvas[row, column, 2] += blue
