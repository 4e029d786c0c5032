//! A list whose first items need no heap.

/// Up to `N` items in place, more on the heap.
pub(crate) struct Spill<T, const N: usize> {
    inline: [T; N],
    len: usize,
    heap: Vec<T>,
}

impl<T: Copy, const N: usize> Spill<T, N> {
    /// Empty; `fill` stands in places that are not used.
    pub(crate) const fn new(fill: T) -> Self {
        Self { inline: [fill; N], len: 0, heap: Vec::new() }
    }

    /// Appends `items`.
    pub(crate) fn extend(&mut self, items: &[T]) {
        if self.heap.is_empty()
            && let Some(room) = self.inline.get_mut(self.len..self.len + items.len())
        {
            room.copy_from_slice(items);
            self.len += items.len();
            return;
        }
        if self.heap.is_empty() {
            self.heap.extend_from_slice(&self.inline[..self.len]);
        }
        self.heap.extend_from_slice(items);
    }

    /// All items.
    pub(crate) fn as_slice(&self) -> &[T] {
        if self.heap.is_empty() { &self.inline[..self.len] } else { &self.heap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_order_over_the_edge() {
        for step in 1..6 {
            let mut list = Spill::<u8, 4>::new(0);
            let all: Vec<u8> = (0..20).collect();
            for (n, chunk) in all.chunks(step).enumerate() {
                list.extend(chunk);
                assert_eq!(list.as_slice(), &all[..all.len().min((n + 1) * step)]);
            }
        }
    }
}
