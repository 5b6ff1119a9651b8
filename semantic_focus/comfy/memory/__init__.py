"""What a training needs of a device's memory: layers that keep nothing, blocks that wait in RAM, what it takes."""
